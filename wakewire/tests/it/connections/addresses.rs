//! Names and addresses of nodes.

use std::net::{SocketAddr, ToSocketAddrs};

use wakewire::Message;
use wakewire::connection::ConnectionManager;
use wakewire::source::{ServerHandle, serve};

use super::{LONG, asked, over};
use crate::support::{eventually, soon};

async fn answering(address: SocketAddr, number: u64) -> ServerHandle {
    let server = serve(format!("tcp://{address}").as_str(), move |_| async move {
        Ok(Message::new(number.to_le_bytes().to_vec()))
    });
    server.start().await.unwrap()
}

/// A port that is free at both loopback addresses.
fn port(addresses: &[&str]) -> u16 {
    for _ in 0..100 {
        let first = std::net::TcpListener::bind((addresses[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let is_free = |address: &&str| std::net::TcpListener::bind((*address, port)).is_ok();
        if addresses[1..].iter().all(is_free) {
            return port;
        }
    }
    panic!("no port is free at {addresses:?}");
}

const NO_IPV6: &str = "WAKEWIRE_TEST_NO_IPV6";

/// Fails where there is no IPv6, unless somebody has said that there is none.
fn has_ipv6() -> bool {
    let bound = std::net::TcpListener::bind("[::1]:0");
    let is_left_out = std::env::var_os(NO_IPV6).is_some();
    assert!(
        bound.is_ok() || is_left_out,
        "this machine has no IPv6 loopback ({bound:?}), so this is NOT tested here: set {NO_IPV6}=1 to leave it out"
    );
    bound.is_ok()
}

#[tokio::test]
async fn an_ipv6_address_is_written_in_brackets() {
    if !has_ipv6() {
        return;
    }
    let port = port(&["::1"]);
    let server = answering(format!("[::1]:{port}").parse().unwrap(), 6).await;
    for host in [format!("[::1]:{port}"), format!("tcp://[::1]:{port}")] {
        let manager = ConnectionManager::new(&over([&*host])).unwrap();
        assert_eq!(asked(&manager, "x").await.unwrap(), 6);
        assert_eq!(
            manager.node_health()[0].node_id.as_str(),
            format!("tcp://[::1]:{port}")
        );
        let health = soon(manager.health_check_all_nodes()).await;
        assert!(health[0].is_healthy);
        assert!(manager.disconnect(LONG).await.finished);
    }
    server.close(LONG).await;
}

/// A name is no address: what it means is asked at each dial, and every address of it is tried.
#[tokio::test]
async fn a_name_is_resolved_at_every_dial() {
    let of_name: Vec<_> = ("localhost", 0).to_socket_addrs().unwrap().collect();
    let hosts: Vec<_> = of_name
        .iter()
        .map(|address| address.ip().to_string())
        .collect();
    let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
    let port = port(&hosts);
    let manager = ConnectionManager::new(&over([&*format!("localhost:{port}")])).unwrap();
    // The server moves from each address of the name to the next, and comes back.
    for (number, host) in (0..).zip(hosts.iter().cycle().take(2 * hosts.len())) {
        let address = SocketAddr::new(host.parse().unwrap(), port);
        let server = answering(address, number).await;
        assert_eq!(asked(&manager, "x").await.unwrap(), number, "at {host}");
        server.close(LONG).await;
        eventually("it is noticed", || manager.total_connections() == 0).await;
    }
    // A name that is none is said to be so, and is asked for again.
    let nobody = ConnectionManager::new(&over(["no-such-host.invalid:7000"])).unwrap();
    for _ in 0..2 {
        let error = soon(nobody.get_connection()).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("no-such-host.invalid"), "{text}");
    }
    assert_eq!(nobody.statistics()[0].1.failed_opens, 2);
}
