//! A contract that a V3 pool can be used through: it pays what the pool's callbacks ask for.
//!
//! Written by hand, since the pools' package has no such contract compiled. It holds tokens, and does two things:
//!
//! * Called with a word and more, it calls the contract whose address the word is, with the rest.
//! * Called back, by `uniswapV3MintCallback` or `uniswapV3SwapCallback`, it sends the amounts that are positive to
//!   whoever calls. Both have the same arguments, and the pool hands on as the last one what it was given itself: the
//!   addresses of the two tokens. So the calldata is 4 bytes of selector, amount0 at 0x04, amount1 at 0x24, where the
//!   bytes are and how many at 0x44 and 0x64, token0 at 0x84, token1 at 0xa4.
//!
//! The first byte tells the two apart: that of an address in a word is 0, those of the selectors are not.

/// Code that makes the contract.
pub(crate) fn creation() -> Vec<u8> {
    let code = code();
    let length = u8::try_from(code.len()).unwrap();
    // copy what is behind these 11 bytes to memory, and return it
    let mut creation = vec![
        0x60, length, 0x80, 0x60, 0x0b, 0x60, 0x00, 0x39, 0x60, 0x00, 0xf3,
    ];
    creation.extend(code);
    creation
}

#[rustfmt::skip]
fn code() -> Vec<u8> {
    let mut code = vec![
        // 00: if the first byte is not 0, go to 33
        0x60, 0x00, 0x35, 0x60, 0xf8, 0x1c, 0x60, 0x33, 0x57,
        // 09: copy the calldata behind the first word to memory; its length stays on the stack
        0x60, 0x20, 0x36, 0x03, 0x80, 0x60, 0x20, 0x60, 0x00, 0x37,
        // 13: call the address in the first word with it, with all gas and no value
        0x60, 0x00, 0x60, 0x00, 0x82, 0x60, 0x00, 0x60, 0x00, 0x60, 0x00, 0x35, 0x5a, 0xf1,
        // 21: copy what it returned to memory, and return it, or revert with it
        0x3d, 0x60, 0x00, 0x60, 0x00, 0x3e, 0x60, 0x2e, 0x57,
        0x3d, 0x60, 0x00, 0xfd,
        // 2e
        0x5b, 0x3d, 0x60, 0x00, 0xf3,
        // 33
        0x5b,
    ];
    code.extend(pay(0x04, 0x84, 0x63));
    code.extend(pay(0x24, 0xa4, 0x93));
    code.push(0x00);
    code
}

/// Pays one token: where the amount is, where the token is, and where this ends in the code.
#[rustfmt::skip]
fn pay(amount: u8, token: u8, end: u8) -> Vec<u8> {
    vec![
        // unless the amount is greater than 0, as a signed number, go to the end
        0x60, 0x00, 0x60, amount, 0x35, 0x13, 0x15, 0x60, end, 0x57,
        // memory: the selector of transfer(address,uint256), who calls, the amount
        0x63, 0xa9, 0x05, 0x9c, 0xbb, 0x60, 0xe0, 0x1b, 0x60, 0x00, 0x52,
        0x33, 0x60, 0x04, 0x52,
        0x60, amount, 0x35, 0x60, 0x24, 0x52,
        // call the token with it; whether it worked the pool sees by its balance
        0x60, 0x20, 0x60, 0x00, 0x60, 0x44, 0x60, 0x00, 0x60, 0x00, 0x60, token, 0x35, 0x5a, 0xf1, 0x50,
        // the end
        0x5b,
    ]
}
