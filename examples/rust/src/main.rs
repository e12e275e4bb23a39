//! Programs that use the hub: `hub-examples PART …` runs one part. docs/clients/rust.md explains them.

use std::env;
use std::error::Error;
use std::io::{Write, stdout};
use std::ops::ControlFlow;
use std::process::ExitCode;

mod follow;
mod openai;
mod rig;

const USAGE: &str = "usage:
  hub-examples follow URL TOKEN
  hub-examples openai URL TOKEN MODEL PROMPT [STOP_AFTER]
  hub-examples rig URL TOKEN MODEL PROMPT [STOP_AFTER]
STOP_AFTER: stop the answer after so many characters";

#[tokio::main]
async fn main() -> ExitCode {
    // eventsource-client and reqwest bring two providers: rustls panics unless the program selects one.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("no provider yet");
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &[&str]) -> Result<(), Box<dyn Error>> {
    match arguments {
        ["follow", hub, token] => {
            follow::follow(hub, token, |event, data| println!("{event}\t{data}")).await
        }
        ["openai", hub, token, model, prompt, rest @ ..] => {
            openai::ask(&openai::client(hub, token)?, model, prompt, show(rest)).await
        }
        ["rig", hub, token, model, prompt, rest @ ..] => {
            rig::ask(&rig::client(hub, token), model, prompt, show(rest)).await
        }
        _ => Err(USAGE.into()),
    }
}

/// Return a function that prints text, and breaks after so many characters.
fn show(rest: &[&str]) -> impl FnMut(&str) -> ControlFlow<()> {
    let limit: usize = rest
        .first()
        .map_or(usize::MAX, |limit| limit.parse().expect(USAGE));
    let mut shown = 0;
    move |text| {
        print!("{text}");
        let _ = stdout().flush();
        shown += text.chars().count();
        if shown < limit {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }
}
