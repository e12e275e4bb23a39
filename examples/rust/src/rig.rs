use std::error::Error;
use std::ops::ControlFlow;

use futures::StreamExt;
use rig_core::completion::CompletionRequest;
use rig_core::providers::openai::{OpenAI, OpenAIConfig};
use rig_core::streaming::{Item, StreamEvent};
use serde_json::json;

pub fn client(hub: &str, token: &str) -> OpenAI {
    OpenAIConfig::new(token) // the token of the user
        .with_base_url(format!("{hub}/v1"))
        .client()
}

/// Call `show` with each piece of the answer, until it breaks: the answer then stops at the LLM.
pub async fn ask(
    client: &OpenAI,
    model: &str,
    prompt: &str,
    mut show: impl FnMut(&str) -> ControlFlow<()>,
) -> Result<(), Box<dyn Error>> {
    let request =
        CompletionRequest::new(prompt).additional_params(json!({"on_disconnect": "stop"}));
    let mut stream = client.chat(model).stream(request)?;
    while let Some(item) = stream.next().await {
        if let Item::Event(StreamEvent::Text { text, .. }) = item? {
            if show(&text).is_break() {
                return Ok(()); // dropping the stream closes the connection
            }
        }
    }
    stream.finish().await?; // an error unless the answer is complete
    Ok(())
}
