//! Reads a password from where the configuration says it is.

use std::{env, fs};

use secrecy::SecretString;

use crate::security::{Credentials, Password, Security};

/// Reads the credentials of a service; none where it has none.
pub(super) fn credentials(security: &Security) -> Result<Option<Credentials>, String> {
    let (Some(username), Some(password)) = (&security.username, &security.password) else {
        return Ok(None);
    };
    let password = match password {
        Password::Given(password) => password.clone(),
        // What was read is never part of an error.
        Password::Env(name) => env::var(name)
            .map(SecretString::from)
            .map_err(|_| format!("the environment has no readable variable `{name}`"))?,
        Password::File(path) => {
            let text = fs::read_to_string(path)
                .map_err(|error| format!("the password file {}: {error}", path.display()))?;
            let line = text.lines().next().unwrap_or_default();
            SecretString::from(line.to_owned())
        }
    };
    Ok(Some(Credentials::new(username, password)))
}
