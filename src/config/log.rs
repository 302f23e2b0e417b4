//! `[log]`: what is logged and how a line looks. In come its keys, out comes a filter that is known to parse.

use super::reader::Reader;

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// What is logged, as a tracing filter.
    pub filter: String,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}

/// Reads `[log]`.
pub fn read(reader: &mut Reader<'_>) -> Log {
    const KEY: &str = "log.filter";
    let format =
        reader.choice("log.format", &[("pretty", LogFormat::Pretty), ("json", LogFormat::Json)]);
    let filter = reader.text(KEY, "info");
    if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(&filter) {
        reader.refuse(KEY, format!("`{filter}` is not a filter: {error}"));
    }
    Log { format, filter }
}
