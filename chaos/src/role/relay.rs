//! The relay: the library's, as it is.

use std::path::Path;

use super::{CLOSE_WITHIN, Done, factory, told_to_end};
use crate::stage::SERVICE;

pub(super) async fn run(services: &Path) -> Done {
    let factory = factory(services)?;
    let mut relay = factory.create_relay(SERVICE).await?;
    tokio::select! {
        served = relay.run() => served?,
        () = told_to_end() => {}
    }
    relay.close(CLOSE_WITHIN).await;
    Ok(())
}
