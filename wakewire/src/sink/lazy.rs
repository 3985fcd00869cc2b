//! A connection opened by the first message.
