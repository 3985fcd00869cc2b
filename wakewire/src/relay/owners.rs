//! Whose the names of consumers are. No I/O, no clock.

use std::collections::HashMap;

use super::effects::Refused;
use crate::security::Identity;

/// The identity that first came with a name, for as long as the relay lives.
#[derive(Debug, Default)]
pub(super) struct Owners(HashMap<String, Identity>);

impl Owners {
    /// Notes whose the name is; refuses it to anybody else, since whoever has a name acknowledges for it.
    pub(super) fn claim(&mut self, name: &str, identity: &Identity) -> Result<(), Refused> {
        match self.0.get(name) {
            Some(owner) if owner == identity => Ok(()),
            Some(_) => Err(Refused::AnothersName {
                name: name.to_owned(),
            }),
            None if self.0.len() >= MOST => Err(Refused::TooManyConsumers { most: MOST }),
            None => {
                self.0.insert(name.to_owned(), identity.clone());
                Ok(())
            }
        }
    }
}

/// Names in one life of a relay.
const MOST: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_resumed_only_by_the_identity_that_came_with_it_first() {
        let mut owners = Owners::default();
        let (one, other) = (Identity::Uid(1000), Identity::User("1000".to_owned()));
        owners.claim("ledger", &one).unwrap();
        owners.claim("ledger", &one).unwrap();
        assert!(matches!(
            owners.claim("ledger", &other),
            Err(Refused::AnothersName { .. })
        ));
        owners.claim("audit", &other).unwrap();
        for number in 2..MOST {
            owners.claim(&number.to_string(), &one).unwrap();
        }
        owners.claim("one too many", &one).unwrap_err();
        owners.claim("ledger", &one).unwrap();
    }
}
