//! What the process logs, at the finest level and from every crate, while a test wants to know it. All
//! tests of the binary share one logger, so a test looks for texts that only it uses.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::layer::{Layer, SubscriberExt};

static LISTENERS: AtomicUsize = AtomicUsize::new(0);
static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static INSTALLED: Once = Once::new();

/// While it lives, everything is logged.
pub struct Capture(());

impl Capture {
    /// Begins to listen.
    pub fn start() -> Capture {
        INSTALLED.call_once(|| {
            let filter = dynamic_filter_fn(|_, _| LISTENERS.load(Ordering::SeqCst) > 0);
            let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Lines);
            let logger = tracing_subscriber::registry().with(layer.with_filter(filter));
            tracing::subscriber::set_global_default(logger).expect("no other logger is installed");
        });
        LISTENERS.fetch_add(1, Ordering::SeqCst);
        Capture(())
    }

    /// What was logged so far, by all tests that ran meanwhile.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&lines()).into_owned()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        LISTENERS.fetch_sub(1, Ordering::SeqCst);
    }
}

fn lines() -> MutexGuard<'static, Vec<u8>> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Lines;

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lines().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
