//! What a node does as time passes, and when it may sleep through it.

use raftbank_consensus::{Engine, Input};

use super::Node;

impl<E: Engine> Node<E> {
    /// So many of the next ticks may come late and together, right before the next event of another kind: consensus has
    /// nothing to do in them, and this node is at rest. What a node at rest does by its clocks may wait for them: at most
    /// two heartbeats.
    pub fn quiet_ticks(&self) -> u32 {
        let is_at_rest = self.calls.is_empty()
            && self.awaited.is_empty()
            && self.heads.is_at_rest()
            && self.rejoin.is_none()
            && !self.is_stopping()
            && self.state.tip().height == self.last_beacon_height;
        let most = 2 * self.config.timers.heartbeat_ticks;
        if is_at_rest { self.engine.quiet_ticks().min(most) } else { 0 }
    }

    pub(super) fn tick(&mut self) {
        self.inputs.push_back(Input::Tick);
        self.expire_calls();
        self.retry_calls();
        self.beacon();
        self.rejoin_tick();
        self.judge_clock();
        self.heads_tick();
        self.versions_tick();
    }
}
