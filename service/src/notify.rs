//! Word to the supervisor (`sd_notify(3)`). Without one, that is without `NOTIFY_SOCKET`, nothing happens.

use sd_notify::NotifyState;

/// The service is up.
pub fn ready() {
    send(&NotifyState::Ready);
}

/// One line for `systemctl status`; line breaks become spaces.
pub fn status(line: &str) {
    send(&NotifyState::Status(&line.replace(['\n', '\r'], " ")));
}

/// The service has begun to stop.
pub fn stopping() {
    send(&NotifyState::Stopping);
}

fn send(state: &NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(std::slice::from_ref(state)) {
        tracing::debug!("the supervisor cannot be told: {error}");
    }
}
