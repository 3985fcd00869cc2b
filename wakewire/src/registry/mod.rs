//! Which services there are: as written, as meant, every fault with its place.
//!
//! A [`Registry`] answers one question: what is the service of this name? [`ServiceRegistry`] answers it
//! from `services.toml`; anything else may, such as a control plane.
//!
//! ```text
//! text ─ toml, recovering ─▶ raw: as written ─▶ resolve: as meant ─▶ graph: who names whom
//!               └────────────────────┴──────── faults ───┴──────────────────────┘
//! ```

mod diagnostic;
mod file;
mod findings;
mod graph;
mod inherit;
mod key_path;
mod keys;
mod lazy;
mod limits;
mod material;
mod nearest;
mod protection;
mod raw;
#[cfg(test)]
mod reference;
mod resolve;
mod secret;
mod service;
mod settings;
mod socket;
mod sound;
mod spool;
mod value;

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;

use toml::de::DeTable;

pub use diagnostic::{Diagnostic, Faults, Severity};
pub use lazy::LazySettings;
pub use service::{CompositePattern, ServiceConfig, ServicesConfig, SinkType, WithoutConsumers};

use crate::error::{Failure, Phase, SinkError};
use file::Writers;
use findings::{BYTE_ORDER_MARK, Findings};

/// Where services are looked up. The factory asks once for each name, when its sink or source is made.
///
/// ```
/// use std::future::{Future, ready};
/// use std::pin::Pin;
/// use wakewire::{Registry, ServiceConfig, SinkError};
///
/// /// Every service is a relay in one directory.
/// #[derive(Debug)]
/// struct Directory(&'static str);
///
/// impl Registry for Directory {
///     fn lookup<'a>(
///         &'a self,
///         name: &'a str,
///     ) -> Pin<Box<dyn Future<Output = Result<ServiceConfig, SinkError>> + Send + 'a>> {
///         let endpoint = format!("unix://{}/{name}.sock", self.0).parse();
///         Box::pin(ready(Ok(ServiceConfig::relay(endpoint.unwrap()))))
///     }
/// }
///
/// let registry: Box<dyn Registry> = Box::new(Directory("/run/wakewire"));
/// # drop(registry);
/// ```
pub trait Registry: Send + Sync + fmt::Debug {
    /// Looks a service up by name. Answers [`SinkError::UnknownService`] when there is none of that name,
    /// and any other error when it could not find out.
    ///
    /// # Cancel safety
    ///
    /// Looking up changes nothing; a dropped look-up is forgotten.
    fn lookup<'a>(
        &'a self,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<ServiceConfig, SinkError>> + Send + 'a>>;
}

/// The services of one `services.toml`.
///
/// Reading it opens no connection. Every fault of the text is reported at once, in the cause of the error:
/// see [`Faults`].
///
/// ```
/// use wakewire::ServiceRegistry;
///
/// let registry = ServiceRegistry::from_toml(
///     r#"
///     [services.market_data]
///     type = "relay"
///     endpoint = "unix:///tmp/market_data.sock"
///     lazy.max_retries = 5
///     "#,
/// )?;
/// assert_eq!(registry.lookup("market_data")?.buffer_size, 10_000);
/// let error = registry.lookup("market_date").unwrap_err();
/// assert!(error.to_string().contains("did you mean `market_data`?"));
/// # Ok::<(), wakewire::SinkError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ServiceRegistry {
    config: ServicesConfig,
    names: Vec<String>,
    warnings: Faults,
}

impl ServiceRegistry {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// [`SinkError::InvalidConfig`] when the file cannot be read, is larger than 64 MiB or is no UTF-8, and
    /// with all [`Faults`] as its cause when its text is not a sound configuration, or names passwords or keys
    /// while everybody may write to it.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, SinkError> {
        let path = path.as_ref();
        let source = file::read(path)?;
        let name = path.display().to_string();
        Self::load(&source.text, Some((&name, source.writers)))
    }

    /// Reads a text.
    ///
    /// # Errors
    ///
    /// [`SinkError::InvalidConfig`] with all [`Faults`] as its cause.
    pub fn from_toml(text: &str) -> Result<Self, SinkError> {
        Self::load(text, None)
    }

    /// Looks a service up by name.
    ///
    /// # Errors
    ///
    /// [`SinkError::UnknownService`] with the names that there are, nearest first.
    pub fn lookup(&self, name: &str) -> Result<&ServiceConfig, SinkError> {
        self.config.services.get(name).ok_or_else(|| {
            let names = self.config.services.keys().map(String::as_str);
            let (message, hint) = graph::missing(name, names, true);
            let failure = Failure::new(name).phase(Phase::Resolve).because(message);
            SinkError::UnknownService(match hint {
                Some(hint) => failure.hint(hint),
                None => failure,
            })
        })
    }

    /// Returns all services.
    pub const fn config(&self) -> &ServicesConfig {
        &self.config
    }

    /// Returns the names in the order of the file.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns what is allowed but probably not meant.
    pub fn warnings(&self) -> &[Diagnostic] {
        self.warnings.diagnostics()
    }

    /// Returns the text in which the warnings' spans point, with what may be secret overwritten by `*`.
    pub fn text(&self) -> &str {
        self.warnings.text()
    }

    fn load(text: &str, file: Option<(&str, Writers)>) -> Result<Self, SinkError> {
        let mut findings = Findings::default();
        let document_text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        let (document, errors) = DeTable::parse_recoverable(document_text);
        for error in errors {
            let span = error.span().unwrap_or_default();
            findings.syntax(
                span,
                format!("not TOML: {}", diagnostic::shown(error.message())),
            );
        }
        let raw = raw::services(document.get_ref(), &mut findings);
        let mut resolved: Vec<_> = raw
            .iter()
            .map(|raw| (raw, resolve::service(raw, &mut findings)))
            .collect();
        inherit::lazy(&mut resolved, &mut findings);
        graph::check(&raw, &mut findings);
        let sound = resolved
            .iter()
            .filter_map(|(raw, config)| Some((*raw, config.as_ref()?)));
        resolve::check_shared_endpoints(sound, &mut findings);
        raw.iter()
            .for_each(|raw| material::check(raw, &mut findings));
        if let Some((_, writers)) = file {
            let mut services = resolved.iter().filter_map(|(_, config)| config.as_ref());
            let shows_secrets = services
                .any(|config| config.security.key.is_some() || config.security.password.is_some());
            writers.judge(shows_secrets, &mut findings);
        }

        let start = text.len() - document_text.len();
        findings.shift(start);
        let masked = secret::masked(text, start, document.get_ref());
        let refused = findings.refused();
        let faults = findings.into_faults(text, masked, file.map(|(name, _)| name));
        if refused {
            return Err(SinkError::InvalidConfig(Failure::new("").because(faults)));
        }
        let mut services = ServicesConfig::default();
        for (raw, config) in resolved {
            services
                .services
                .extend(config.map(|config| (raw.name.clone(), config)));
        }
        Ok(Self {
            names: raw.into_iter().map(|raw| raw.name).collect(),
            config: services,
            warnings: faults,
        })
    }
}

impl Registry for ServiceRegistry {
    fn lookup<'a>(
        &'a self,
        name: &'a str,
    ) -> Pin<Box<dyn Future<Output = Result<ServiceConfig, SinkError>> + Send + 'a>> {
        let found = Self::lookup(self, name).cloned();
        Box::pin(std::future::ready(found))
    }
}
