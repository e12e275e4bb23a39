use std::error::Error;
use std::time::Duration;

use eventsource_client::{Client, ClientBuilder, Error as StreamError, ReconnectOptions, SSE};
use futures::StreamExt;
use launchdarkly_sdk_transport::HyperTransport;
use serde_json::Value;

const MAX_DELAY: Duration = Duration::from_secs(30);

/// Call `handle` with each event of the user and its data, until the hub ends the stream or refuses it.
///
/// The client could reconnect by itself. It then forgets the cursor on a connection without an id, such as
/// the `hub.bye` of a proxy, and begins with live events. So each stream gets the cursor here.
pub async fn follow(
    hub: &str,
    token: &str,
    handle: impl Fn(&str, &str),
) -> Result<(), Box<dyn Error>> {
    let transport = HyperTransport::builder()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(Duration::from_secs(20)) // more than two heartbeats; none by default
        .build_https()?;
    let mut cursor = String::new();
    let mut delay = Duration::from_secs(1);
    loop {
        let mut builder = ClientBuilder::for_url(&format!("{hub}/sse/connect"))?
            .header("Authorization", &format!("Bearer {token}"))?
            .reconnect(ReconnectOptions::reconnect(false).build());
        if !cursor.is_empty() {
            builder = builder.last_event_id(cursor.clone());
        }
        let mut stream = builder.build_with_transport(transport.clone()).stream();
        delay = (2 * delay).min(MAX_DELAY);
        while let Some(item) = stream.next().await {
            match item {
                Ok(SSE::Event(event)) => {
                    handle(&event.event_type, &event.data);
                    if let Some(id) = event.id {
                        cursor = id; // ephemeral events repeat the last one of this stream, or have none
                    }
                    delay = event.retry.map_or(delay, Duration::from_millis);
                    if event.event_type == "hub.bye" {
                        let bye: Value = serde_json::from_str(&event.data)?;
                        if bye["reconnect"] == false {
                            return Ok(());
                        }
                        delay = Duration::from_millis(bye["retry_ms"].as_u64().unwrap_or(3000));
                    }
                }
                Ok(SSE::Connected(_) | SSE::Comment(_)) => {} // a heartbeat is a comment
                Err(StreamError::UnexpectedResponse(response, _))
                    if response.status() != 429 && response.status() < 500 =>
                {
                    return Err(format!(
                        "the hub refuses the stream: status {}",
                        response.status()
                    )
                    .into());
                }
                Err(_) => break, // the connection broke, or the stream has ended
            }
        }
        tokio::time::sleep(delay.mul_f64(rand::random_range(0.5..1.0))).await;
    }
}
