//! The clocks of a history: the machine's wall clock, which jumps; the server's, which does not step back; and uptime.

/// All three.
#[derive(Debug, Clone)]
pub struct Clocks {
    /// What the machine says.
    wall_ms: i64,
    /// The latest that this server said.
    latest_ms: i64,
    /// Time that passed.
    uptime_ms: u64,
    /// A later layout of a stream was settled at this time: the machine's clock falls no further back, since what the old layout did not keep by
    /// that clock is gone.
    floor_ms: i64,
}

impl Clocks {
    /// Clocks at the beginning of a history.
    pub fn new(wall_ms: i64) -> Clocks {
        Clocks { wall_ms, latest_ms: i64::MIN, uptime_ms: 0, floor_ms: i64::MIN }
    }

    /// Time passes.
    pub fn pass(&mut self, ms: u64) {
        self.uptime_ms += ms;
        self.wall_ms += ms as i64;
    }

    /// Somebody sets the machine's clock.
    pub fn jump(&mut self, by_ms: i64) {
        self.wall_ms = (self.wall_ms + by_ms).max(self.floor_ms);
    }

    /// The machine's clock is never set to before now.
    pub fn hold(&mut self) {
        self.floor_ms = self.now_ms();
    }

    /// A new process starts.
    pub fn restart(&mut self) {
        self.latest_ms = i64::MIN;
    }

    /// The server's clock shows at least this.
    pub fn not_before(&mut self, time_ms: i64) {
        self.latest_ms = self.latest_ms.max(time_ms);
    }

    /// The server's clock.
    pub fn now_ms(&mut self) -> i64 {
        self.latest_ms = self.latest_ms.max(self.wall_ms);
        self.latest_ms
    }

    /// Time that passed since the beginning.
    pub fn uptime_ms(&self) -> u64 {
        self.uptime_ms
    }
}
