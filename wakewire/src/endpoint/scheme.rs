//! How endpoints are reached, and which of them this build can open. No I/O, no clock.

/// How an endpoint is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// `unix`
    Unix,
    /// `tcp`
    Tcp,
    /// `tls`
    Tls,
    /// `udp`
    Udp,
    /// `ws`
    Ws,
    /// `wss`
    Wss,
    /// `memory`
    Memory,
}

impl Scheme {
    /// Every scheme that an endpoint may have.
    pub const ALL: [Self; 7] = [
        Self::Unix,
        Self::Tcp,
        Self::Tls,
        Self::Udp,
        Self::Ws,
        Self::Wss,
        Self::Memory,
    ];

    /// Returns the scheme as written before `://`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Udp => "udp",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Memory => "memory",
        }
    }

    /// Returns whether this build can open it: each scheme has a feature of its name, `wss` also needs `tls`.
    pub const fn is_built_in(self) -> bool {
        match self {
            Self::Unix => cfg!(all(feature = "unix", unix)),
            Self::Tcp => cfg!(feature = "tcp"),
            Self::Tls => cfg!(feature = "tls"),
            Self::Udp => cfg!(feature = "udp"),
            Self::Ws => cfg!(feature = "ws"),
            Self::Wss => cfg!(all(feature = "ws", feature = "tls")),
            Self::Memory => cfg!(feature = "memory"),
        }
    }

    /// Says which schemes this build can open, for who asked for another one.
    pub(crate) fn advice() -> String {
        let built_in = Self::ALL.into_iter().filter(|scheme| scheme.is_built_in());
        let built_in: Vec<_> = built_in
            .map(|scheme| format!("`{}://`", scheme.name()))
            .collect();
        let others = "build it with the feature of that name";
        match built_in.as_slice() {
            [] => others.to_owned(),
            _ => format!("this build has {}; or {others}", built_in.join(", ")),
        }
    }
}
