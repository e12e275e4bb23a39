//! Follows a stream with eventsource-client as it is by default, which reconnects by itself.

use std::env;
use std::error::Error;

use eventsource_client::{Client, ClientBuilder, SSE};
use futures::StreamExt;
use launchdarkly_sdk_transport::HyperTransport;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("no provider yet");
    let url = format!("{}/sse/connect", env::args().nth(1).expect("a URL"));
    let transport = HyperTransport::builder().build_http()?;
    let client = ClientBuilder::for_url(&url)?.build_with_transport(transport);
    let mut stream = client.stream();
    while let Some(item) = stream.next().await {
        if let Ok(SSE::Event(event)) = item {
            println!("{}\t{}", event.event_type, event.data);
        }
    }
    Ok(())
}
