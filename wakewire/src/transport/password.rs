//! Reads a password from where the configuration says it is.

use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

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
            let line = first_line(path)
                .map_err(|error| format!("the password file {}: {error}", path.display()))?;
            SecretString::from(line)
        }
    };
    if password.expose_secret().is_empty() {
        return Err(format!("the password of user {username:?} is empty"));
    }
    Ok(Some(Credentials::new(username, password)))
}

/// Reads the first line, without its end. What is longer than a greeting is no password.
fn first_line(path: &Path) -> io::Result<String> {
    let mut line = String::with_capacity(MOST_BYTES);
    let mut file = BufReader::new(File::open(path)?).take(MOST_BYTES as u64);
    file.read_line(&mut line)?;
    if line.len() == MOST_BYTES {
        let what = format!("its first line has more than {} bytes", MOST_BYTES - 1);
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    let length = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(length);
    Ok(line)
}

/// A greeting has room for 4 KiB in all.
const MOST_BYTES: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_read_and_no_endless_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            first_line(file.path())
        };
        assert_eq!(read("").unwrap(), "");
        assert_eq!(read("word\r\nmore").unwrap(), "word");
        let most = "x".repeat(MOST_BYTES - 1);
        assert_eq!(read(&most).unwrap(), most);
        assert!(read(&format!("{most}x")).is_err());
        assert!(first_line(Path::new("/dev/zero")).is_err());
        std::fs::write(file.path(), "\nmore").unwrap();
        let empty = Security {
            username: Some("feed".to_owned()),
            password: Some(Password::File(file.path().to_owned())),
            ..Security::default()
        };
        assert!(credentials(&empty).unwrap_err().contains("is empty"));
    }
}
