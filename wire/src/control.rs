//! What the relay itself says to a node and the other way round, beside what it carries: frames with the tag [`TAG`].

use crate::frame::Frame;

/// The tag of control frames; no member has this position.
pub const TAG: u8 = 255;

/// A control frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// "Are you there?" Sent by the relay once a second; either side may ask.
    Ping,
    /// The answer to `Ping`.
    Pong,
    /// The member at this position has connected.
    LinkUp(u8),
    /// The member at this position has gone. A fault that was set on purpose is not told.
    LinkDown(u8),
}

impl Control {
    /// The frame that says so.
    pub fn frame(self) -> Frame {
        Frame::tagged(
            TAG,
            match self {
                Self::Ping => vec![0],
                Self::Pong => vec![1],
                Self::LinkUp(member) => vec![2, member],
                Self::LinkDown(member) => vec![3, member],
            },
        )
    }

    /// Reads the payload of a frame with the tag [`TAG`]; `None` if it says nothing that is known here.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        Some(match *payload {
            [0] => Self::Ping,
            [1] => Self::Pong,
            [2, member] => Self::LinkUp(member),
            [3, member] => Self::LinkDown(member),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Control;

    #[test]
    fn golden_bytes_both_ways() {
        let golden: [(Control, &[u8]); 4] = [
            (Control::Ping, &[0, 0, 0, 2, 255, 0]),
            (Control::Pong, &[0, 0, 0, 2, 255, 1]),
            (Control::LinkUp(4), &[0, 0, 0, 3, 255, 2, 4]),
            (Control::LinkDown(4), &[0, 0, 0, 3, 255, 3, 4]),
        ];
        for (control, bytes) in golden {
            assert_eq!(control.frame().into_bytes(), bytes);
            assert_eq!(Control::parse(&bytes[5..]), Some(control));
        }
        for unknown in [&[][..], &[9], &[0, 0], &[2], &[2, 1, 1]] {
            assert_eq!(Control::parse(unknown), None);
        }
    }
}
