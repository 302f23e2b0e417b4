//! Prints each event of the log as it comes: `print_events [URI] [TOKEN]`.

use anyhow::Context;
use futures::StreamExt;
use tollgate_client::{Client, Filter, StartPosition, Watch};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let uri = arguments.next().unwrap_or_else(|| "http://127.0.0.1:50051".to_owned());
    let mut builder = Client::builder(uri);
    if let Some(token) = arguments.next() {
        builder = builder.token(token);
    }
    let client = builder.connect_lazy()?;

    let mut events = client.watch_events(Filter::default(), StartPosition::earliest());
    while let Some(watch) = events.next().await {
        match watch.context("the watch ended")? {
            Watch::Event(event) => {
                let status = event.change.as_ref().map_or("", |change| change.current.as_str());
                println!("{:>8}  {:<20}  {}", event.sequence, status, event.subject);
            }
            Watch::CaughtUp { position } => println!("{:>8}  (all so far)", position.sequence),
        }
    }
    Ok(())
}
