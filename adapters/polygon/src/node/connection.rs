//! A WebSocket connection to an EVM node, and what it is asked: JSON-RPC 2.0, one request at a time.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

use alloy_primitives::{Address, Bytes};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message, protocol::WebSocketConfig};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::log::{Log, quantity};
use super::{Filter, NodeError};

/// A connection, with at most one subscription.
#[derive(Debug)]
pub struct Connection {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    asked: u64,
    subscription: Option<String>,
    /// What the subscription said while an answer was waited for.
    ahead: VecDeque<Log>,
}

impl Connection {
    /// Connects, `ws://` or `wss://`.
    ///
    /// # Errors
    ///
    /// Nobody is there, or it speaks no WebSocket; within 10 s.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing remains.
    pub async fn open(url: &str) -> Result<Self, NodeError> {
        let limits = WebSocketConfig::default()
            .max_message_size(Some(LONGEST))
            .max_frame_size(Some(LONGEST));
        let connecting = Box::pin(connect_async_with_config(url, Some(limits), true));
        let (stream, _) = in_time(ANSWER_WITHIN, connecting).await?;
        Ok(Self {
            stream,
            asked: 0,
            subscription: None,
            ahead: VecDeque::new(),
        })
    }

    /// Returns the number of the last block.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    ///
    /// # Cancel safety
    ///
    /// As [`ask`](Self::ask).
    pub async fn head(&mut self) -> Result<u64, NodeError> {
        let answer: String = self.ask("eth_blockNumber", json!([])).await?;
        quantity::parse(&answer).ok_or(NodeError::Protocol("a block number that is none"))
    }

    /// Returns the logs of a range of blocks.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask); many nodes refuse long ranges, and ranges with many logs.
    ///
    /// # Cancel safety
    ///
    /// As [`ask`](Self::ask).
    pub async fn logs(
        &mut self,
        filter: &Filter,
        blocks: RangeInclusive<u64>,
    ) -> Result<Vec<Log>, NodeError> {
        let mut wanted = filter.wanted();
        if let Some(fields) = wanted.as_object_mut() {
            let (first, last) = blocks.into_inner();
            fields.insert("fromBlock".to_owned(), quantity::written(first).into());
            fields.insert("toBlock".to_owned(), quantity::written(last).into());
        }
        self.ask("eth_getLogs", json!([wanted])).await
    }

    /// Calls a contract without a transaction, on the last block.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask); [`NodeError::Refused`] if the contract refuses.
    ///
    /// # Cancel safety
    ///
    /// As [`ask`](Self::ask).
    pub async fn call(&mut self, contract: Address, data: Bytes) -> Result<Bytes, NodeError> {
        let call = json!([{ "to": contract, "data": data }, "latest"]);
        self.ask("eth_call", call).await
    }

    /// Subscribes to logs: from now on [`next`](Self::next) says what comes and what goes.
    ///
    /// # Errors
    ///
    /// As [`ask`](Self::ask).
    ///
    /// # Cancel safety
    ///
    /// As [`ask`](Self::ask).
    pub async fn subscribe(&mut self, filter: &Filter) -> Result<(), NodeError> {
        let asked = json!(["logs", filter.wanted()]);
        self.subscription = Some(self.ask("eth_subscribe", asked).await?);
        Ok(())
    }

    /// Waits for what the subscription says next, and returns nothing if that takes longer than `patience`.
    ///
    /// Nothing is read ahead: a node that says more than is taken has to wait, and may hang up.
    ///
    /// # Errors
    ///
    /// The connection has ended, or what came is not understood.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a log is returned or remains to be.
    pub async fn next(&mut self, patience: Duration) -> Result<Option<Log>, NodeError> {
        if let Some(log) = self.ahead.pop_front() {
            return Ok(Some(log));
        }
        let hearing = async {
            loop {
                let heard = self.hear().await?;
                if let Some(log) = self.told(&heard)? {
                    return Ok(log);
                }
            }
        };
        match timeout(patience, hearing).await {
            Ok(log) => log.map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    ///
    /// [`NodeError::Refused`] if the node does not do it, and the connection goes on; else it has ended, or is not to
    /// be used further: nothing comes for 30 s, or it is not understood.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the answer comes all the same, and is taken for no other's.
    pub async fn ask<T: DeserializeOwned>(
        &mut self,
        method: &'static str,
        arguments: Value,
    ) -> Result<T, NodeError> {
        self.asked += 1;
        let number = self.asked;
        let request =
            json!({ "jsonrpc": "2.0", "id": number, "method": method, "params": arguments });
        let asking = self.stream.send(Message::text(request.to_string()));
        in_time(ANSWER_WITHIN, asking).await?;
        let answering = async {
            loop {
                let heard = self.hear().await?;
                if heard.get("id").and_then(Value::as_u64) == Some(number) {
                    return Ok(heard);
                }
                if let Some(log) = self.told(&heard)? {
                    if self.ahead.len() >= MOST_AHEAD {
                        return Err(NodeError::Protocol("more logs than an answer may take"));
                    }
                    self.ahead.push_back(log);
                }
            }
        };
        let mut answer: Value = timeout(ANSWER_WITHIN, answering)
            .await
            .map_err(|_| NodeError::Silent(ANSWER_WITHIN))??;
        if let Some(error) = answer.get("error") {
            let cause = error.get("message").and_then(Value::as_str);
            return Err(NodeError::Refused {
                method,
                cause: cause.unwrap_or("without a reason").to_owned(),
            });
        }
        let result = answer.get_mut("result").map(Value::take);
        Ok(serde_json::from_value(result.unwrap_or_default())?)
    }

    /// Returns the next thing that the node says.
    async fn hear(&mut self) -> Result<Value, NodeError> {
        loop {
            match self.stream.next().await.ok_or(NodeError::Ended)?? {
                Message::Text(text) => return Ok(serde_json::from_str(&text)?),
                Message::Binary(bytes) => return Ok(serde_json::from_slice(&bytes)?),
                Message::Close(_) => return Err(NodeError::Ended),
                // Answered by the library when it reads on.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    /// Returns the log that our subscription tells of, if it is that.
    fn told(&self, heard: &Value) -> Result<Option<Log>, NodeError> {
        let told = heard.get("params");
        let Some(log) = told.and_then(|told| told.get("result")) else {
            return Ok(None);
        };
        let subscription = told.and_then(|told| told.get("subscription"));
        // Before we know its number, it is ours: there is no other.
        if self.subscription.is_some()
            && subscription.and_then(Value::as_str) != self.subscription.as_deref()
        {
            return Ok(None);
        }
        Ok(Some(Log::deserialize(log)?))
    }
}

async fn in_time<T>(
    within: Duration,
    future: impl Future<Output = Result<T, WebSocketError>>,
) -> Result<T, NodeError> {
    match timeout(within, future).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(NodeError::Silent(within)),
    }
}

/// How long an answer may take: a node that searches a thousand blocks takes seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// The longest message of a node: as many logs as public nodes give in one answer, and more.
const LONGEST: usize = 64 << 20;

/// How many logs may come before an answer.
const MOST_AHEAD: usize = 100_000;
