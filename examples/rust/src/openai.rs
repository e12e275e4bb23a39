use std::error::Error;
use std::ops::ControlFlow;
use std::time::Duration;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::types::chat::{ChatCompletionResponseStream, CreateChatCompletionStreamResponse};
use futures::StreamExt;
use serde_json::json;

pub fn client(hub: &str, token: &str) -> Result<Client<OpenAIConfig>, reqwest::Error> {
    let http = reqwest::Client::builder()
        .read_timeout(Duration::from_secs(20)) // more than two heartbeats; none by default
        .build()?;
    let config = OpenAIConfig::new()
        .with_api_base(format!("{hub}/v1"))
        .with_api_key(token); // the token of the user
    Ok(Client::with_config(config).with_http_client(http))
}

/// Call `show` with each piece of the answer, until it breaks: the answer then stops at the LLM.
pub async fn ask(
    client: &Client<OpenAIConfig>,
    model: &str,
    prompt: &str,
    mut show: impl FnMut(&str) -> ControlFlow<()>,
) -> Result<(), Box<dyn Error>> {
    // The feature `byot` lets the request have fields of the hub.
    let mut stream: ChatCompletionResponseStream = client
        .chat()
        .create_stream_byot(json!({
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            "stream": true,
            "on_disconnect": "stop",
        }))
        .await?;
    let mut is_complete = false;
    while let Some(chunk) = stream.next().await {
        let chunk: CreateChatCompletionStreamResponse = chunk?; // an error of the hub, or a broken connection
        for choice in chunk.choices {
            if show(choice.delta.content.as_deref().unwrap_or_default()).is_break() {
                return Ok(()); // closes the connection
            }
            is_complete |= choice.finish_reason.is_some();
        }
    }
    if is_complete {
        Ok(())
    } else {
        Err("the answer is incomplete".into())
    }
}
