//! When requests are due: an open loop that does not wait for answers. A thread of its own keeps the time,
//! for the runtime's timers go by whole milliseconds. A latency is counted from when a request was due, so
//! that a server that stalls pays for all that should have come meanwhile.

use std::ops::Range;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

/// How long before the first request the schedule is made.
const LEAD: Duration = Duration::from_millis(500);

/// When each number is due.
#[derive(Clone, Debug)]
pub struct Schedule {
    numbers: Range<u64>,
    begin: Instant,
    interval: Duration,
}

impl Schedule {
    /// These numbers at a rate, from soon on.
    pub fn new(numbers: Range<u64>, per_second: u32) -> Schedule {
        Schedule {
            numbers,
            begin: Instant::now() + LEAD,
            interval: Duration::from_secs(1) / per_second,
        }
    }

    /// When a number is due.
    pub fn due(&self, number: u64) -> Instant {
        let at = u32::try_from(number - self.numbers.start).unwrap_or(u32::MAX);
        self.begin + self.interval * at
    }

    /// Gives each number when it is due.
    pub fn run(self) -> mpsc::UnboundedReceiver<u64> {
        let (sender, due) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            wake_exactly();
            for number in self.numbers.clone() {
                let wait = self.due(number).saturating_duration_since(Instant::now());
                if !wait.is_zero() {
                    std::thread::sleep(wait);
                }
                if sender.send(number).is_err() {
                    break;
                }
            }
        });
        due
    }
}

/// Linux may wake a thread 50 µs late to save power, which is half of what is measured. Where it cannot be
/// told not to, the delay counts as latency.
fn wake_exactly() {
    let Ok(thread) = std::fs::read_link("/proc/thread-self") else { return };
    if let Some(id) = thread.file_name() {
        let file = std::path::Path::new("/proc").join(id).join("timerslack_ns");
        // Refused on some systems; see above.
        let _ = std::fs::write(file, "1");
    }
}
