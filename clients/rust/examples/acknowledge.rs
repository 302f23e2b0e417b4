//! Consumes a subscription and acknowledges each event, up to eight payments side by side, until Ctrl-C:
//! `acknowledge [URI] [TOKEN]`.

use futures::StreamExt;
use tollgate_client::{Client, Delivery, Error, Filter, StartPosition};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let uri = arguments.next().unwrap_or_else(|| "http://127.0.0.1:50051".to_owned());
    let mut builder = Client::builder(uri);
    if let Some(token) = arguments.next() {
        builder = builder.token(token);
    }
    let client = builder.connect_lazy()?;

    let mut deliveries = client
        .subscription("example")
        .create_if_missing(Filter::default(), StartPosition::earliest())
        .consumer("acknowledge-example")
        .max_outstanding(8)
        .open();
    let handled = deliveries.by_ref().for_each_concurrent(8, |delivery| async {
        match handle(delivery).await {
            Ok(name) => println!("handled {name}"),
            Err(error) => eprintln!("{error}"),
        }
    });
    tokio::select! {
        () = handled => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    deliveries.close().await;
    Ok(())
}

async fn handle(delivery: Result<Delivery, Error>) -> Result<String, Error> {
    let delivery = delivery?;
    // Write to the other system here; the name recognises an event that comes again.
    let name = delivery.event().name.clone();
    delivery.ack_with("record-42", "updated").await?;
    Ok(name)
}
