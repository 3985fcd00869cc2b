//! Two servers and a client that asks both; one server is killed in the middle of it.
//!
//! `cargo run -p wakewire --example requests`
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use wakewire::connection::{ConnectionConfig, ConnectionManager};
use wakewire::source::{HandlerError, Request, serve};
use wakewire::{Message, SinkError};

const QUESTIONS: usize = 400;

/// What a server does: it gets a number and answers with its own name and the square of the number.
async fn square(name: &str, request: Request) -> Result<Message, HandlerError> {
    let text = std::str::from_utf8(&request.message.payload).unwrap_or_default();
    let number: usize = text.parse().map_err(|_| "that is not a number")?;
    tokio::time::sleep(Duration::from_millis(1)).await;
    Ok(Message::new(format!("{name} {}", number * number)))
}

/// What the client does: it asks a server that is well, and another one if that fails.
async fn ask(manager: Arc<ConnectionManager>, number: usize) -> Result<String, SinkError> {
    let question = &Message::new(number.to_string());
    // To square a number twice does no harm. For what must not be done twice there is `execute`.
    let answer = manager
        .execute_idempotent(|connection| async move { connection.send_request(question).await })
        .await?;
    Ok(String::from_utf8_lossy(&answer.payload).into_owned())
}

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let directory = std::env::temp_dir().join(format!("wakewire-requests-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let url = |name: &str| format!("unix://{}/{name}.sock", directory.display());
    let one = serve(url("one"), |request| square("one", request));
    let two = serve(url("two"), |request| square("two", request));
    let (mut one, two) = (Some(one.start().await?), two.start().await?);

    let config = ConnectionConfig {
        hosts: vec![url("one"), url("two")],
        ..ConnectionConfig::default()
    };
    let manager = Arc::new(ConnectionManager::new(&config)?); // opens nothing yet

    let mut asking = JoinSet::new();
    let mut outcomes = Vec::new();
    for number in 0..QUESTIONS {
        if number == QUESTIONS / 2 {
            drop(one.take()); // as if its process was killed, with requests in hand
        }
        let manager = Arc::clone(&manager);
        asking.spawn(async move { (number, ask(manager, number).await) });
        if asking.len() == 8 {
            outcomes.extend(asking.join_next().await); // eight at a time
        }
    }
    while let Some(outcome) = asking.join_next().await {
        outcomes.push(outcome);
    }

    let (mut by_one, mut by_two) = (0, 0);
    for outcome in outcomes {
        let (number, answer) = outcome?;
        let square = (number * number).to_string();
        match answer.as_deref().map(|answer| answer.split_once(' ')) {
            Ok(Some(("one", squared))) if squared == square => by_one += 1,
            Ok(Some(("two", squared))) if squared == square => by_two += 1,
            _ => println!("{number}: {answer:?}"),
        }
    }
    let lost = QUESTIONS - by_one - by_two;
    println!(
        "{QUESTIONS} questions, {lost} lost: one was killed after {by_one}, two answered {by_two}"
    );
    for node in manager.health_check_all_nodes().await {
        let health = if node.is_healthy { "well" } else { "out" };
        println!("{} is {health}", node.node_id);
    }

    // Connections that are in use have until then to come back.
    let report = manager.disconnect(Duration::from_secs(1)).await;
    let drained = two.close(Duration::from_secs(1)).await;
    println!(
        "everything is closed: {}, given up: {}",
        report.finished, drained.cancelled
    );
    std::fs::remove_dir_all(&directory)?;
    Ok(if lost == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
