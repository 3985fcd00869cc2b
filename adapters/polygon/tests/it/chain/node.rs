//! The node's process, and asking it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use alloy_primitives::{Address, Bytes, hex};
use alloy_sol_types::SolCall;
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use wakewire_polygon::node::Connection;

/// `anvil` on a loopback port. Its chain is in a file while it does not run.
pub(crate) struct Anvil {
    port: u16,
    state: PathBuf,
    child: Option<Child>,
    connection: Option<Connection>,
}

impl Anvil {
    /// Starts it on a free port, and fails with what to run if it is not installed.
    pub(crate) async fn start(directory: &Path) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut anvil = Self {
            port: free.local_addr().unwrap().port(),
            state: directory.join("chain.json"),
            child: None,
            connection: None,
        };
        drop(free);
        anvil.run().await;
        anvil
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// Starts it where it was, with the chain as it was.
    pub(crate) async fn run(&mut self) {
        let child = Command::new(path("anvil-1.7.1/bin/anvil"))
            .args(["--port", &self.port.to_string(), "--quiet"])
            .args(["--state-interval", "1", "--state"])
            .arg(&self.state)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        self.child = Some(child.unwrap());
        self.rpc().await;
    }

    /// Kills it (SIGKILL), once its last block is in the file, which it writes once a second.
    pub(crate) async fn kill(&mut self) {
        let head = self.rpc().await.head().await.unwrap();
        self.connection = None;
        let Some(mut child) = self.child.take() else {
            return;
        };
        let begun = Instant::now();
        while self.written_head() != Some(head) {
            assert!(begun.elapsed() < PATIENCE, "anvil does not write its chain");
            sleep(Duration::from_millis(5)).await;
        }
        child.kill().await.unwrap();
    }

    /// Returns the last block in the file, if that is whole.
    fn written_head(&self) -> Option<u64> {
        let state: Value = serde_json::from_slice(&std::fs::read(&self.state).ok()?).ok()?;
        state["best_block_number"].as_u64()
    }

    /// Returns a connection to it; waits until it is there.
    pub(crate) async fn rpc(&mut self) -> &mut Connection {
        if self.connection.is_none() {
            let start = Instant::now();
            let url = self.url();
            self.connection = Some(loop {
                match Connection::open(&url).await {
                    Ok(connection) => break connection,
                    Err(error) => assert!(start.elapsed() < PATIENCE, "anvil: {error}"),
                }
                let child = self.child.as_mut().unwrap();
                assert!(child.try_wait().unwrap().is_none(), "anvil has ended");
                sleep(Duration::from_millis(20)).await;
            });
        }
        self.connection.as_mut().unwrap()
    }

    pub(crate) async fn ask(&mut self, method: &'static str, arguments: Value) -> Value {
        self.rpc().await.ask(method, arguments).await.unwrap()
    }

    pub(crate) async fn account(&mut self) -> Address {
        let accounts = self.ask("eth_accounts", json!([])).await;
        accounts[0].as_str().unwrap().parse().unwrap()
    }

    /// Sends a transaction, which must succeed, and returns its receipt.
    pub(crate) async fn send_raw(
        &mut self,
        from: Address,
        to: Option<Address>,
        data: Vec<u8>,
    ) -> Value {
        let data = Bytes::from(data);
        let transaction = json!([{ "from": from, "to": to, "data": data, "gas": "0x989680" }]);
        let hash = self.ask("eth_sendTransaction", transaction).await;
        let start = Instant::now();
        loop {
            let receipt = self.ask("eth_getTransactionReceipt", json!([hash])).await;
            if !receipt.is_null() {
                assert_eq!(
                    receipt["status"], "0x1",
                    "the transaction was reverted: {receipt}"
                );
                return receipt;
            }
            assert!(start.elapsed() < PATIENCE, "not mined: {hash}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn send(&mut self, from: Address, to: Address, call: impl SolCall) -> Value {
        self.send_raw(from, Some(to), call.abi_encode()).await
    }

    /// Makes a contract of this code.
    pub(crate) async fn create(&mut self, from: Address, code: Vec<u8>) -> Address {
        let receipt = self.send_raw(from, None, code).await;
        receipt["contractAddress"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Makes a contract of a compiled one and its encoded arguments.
    pub(crate) async fn deploy(
        &mut self,
        from: Address,
        artifact: &str,
        arguments: &[u8],
    ) -> Address {
        let artifact: Value = serde_json::from_str(artifact).unwrap();
        let mut code = hex::decode(artifact["bytecode"].as_str().unwrap()).unwrap();
        code.extend(arguments);
        self.create(from, code).await
    }

    pub(crate) async fn call<C: SolCall>(&mut self, to: Address, call: C) -> C::Return {
        let answer = self.rpc().await.call(to, call.abi_encode().into()).await;
        C::abi_decode_returns(&answer.unwrap()).unwrap()
    }
}

/// Reads a file of what `scripts/install-evm` has installed.
pub(crate) fn installed(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

fn path(name: &str) -> PathBuf {
    let program = std::env::current_exe().unwrap();
    // A test lies in `target/debug/deps`, an example in `target/debug/examples`.
    let mut above = program
        .ancestors()
        .map(|above| above.join("evm").join(name));
    let Some(path) = above.find(|path| path.exists()) else {
        panic!("`target/evm/{name}` is missing: run `scripts/install-test-needs`");
    };
    path
}

/// Longer than anything here takes on a loaded machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
