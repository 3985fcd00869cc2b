//! Pool events of an EVM chain as messages.
