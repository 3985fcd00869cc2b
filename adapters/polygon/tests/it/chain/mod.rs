//! A real EVM node with two tokens and two pools of them, and trades in these pools.

mod caller;
mod node;

use alloy_primitives::aliases::{I24, U24};
use alloy_primitives::{Address, B256, Bytes, I256, U160, U256};
use alloy_sol_types::{SolCall, SolValue, sol};
use wakewire_polygon::events::SIGNATURES;
use wakewire_polygon::node::{Filter, Log};

pub(crate) use self::node::{Anvil, PATIENCE, installed};

sol! {
    function transfer(address to, uint256 amount) external returns (bool);

    function createPair(address a, address b) external returns (address pair);
    function getPair(address a, address b) external view returns (address pair);
    function getReserves() external view returns (uint112 reserve0, uint112 reserve1, uint32 at);

    function createPool(address a, address b, uint24 fee) external returns (address pool);
    function getPool(address a, address b, uint24 fee) external view returns (address pool);
    function initialize(uint160 sqrtPriceX96) external;
    function slot0() external view returns (
        uint160 sqrtPriceX96, int24 tick, uint16 index, uint16 cardinality, uint16 next, uint8 fee, bool unlocked
    );

    interface V2 {
        function mint(address to) external returns (uint256 liquidity);
        function swap(uint256 amount0Out, uint256 amount1Out, address to, bytes data) external;
        function burn(address to) external returns (uint256 amount0, uint256 amount1);
    }

    interface V3 {
        function mint(address to, int24 lower, int24 upper, uint128 amount, bytes data) external;
        function swap(address to, bool zeroForOne, int256 amount, uint160 limit, bytes data) external;
        function burn(int24 lower, int24 upper, uint128 amount) external;
    }
}

/// WETH and USDC, a V2 and a V3 pool of them, both at 3000, and somebody who has plenty of both.
pub(crate) struct Market {
    pub(crate) anvil: Anvil,
    pub(crate) account: Address,
    pub(crate) token0: Token,
    pub(crate) token1: Token,
    pub(crate) v2: Address,
    pub(crate) v3: Address,
    caller: Address,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) address: Address,
    pub(crate) decimals: u8,
}

impl Token {
    /// So many thousandths of it.
    pub(crate) fn thousandths(self, number: u64) -> U256 {
        U256::from(number) * U256::from(10).pow(U256::from(self.decimals - 3))
    }
}

impl Market {
    /// Makes it on a node that has nothing yet.
    pub(crate) async fn open(mut anvil: Anvil) -> Self {
        let account = anvil.account().await;
        let supply = U256::from(10).pow(U256::from(30)).abi_encode();
        let with_18 = installed("v2-core-1.0.1/build/ERC20.json");
        let weth = anvil.deploy(account, &with_18, &supply).await;
        // The same contract, with the constant that `decimals()` returns exchanged.
        let with_6 = with_18.replacen("5b601281565b", "5b600681565b", 1);
        assert_ne!(with_6, with_18, "the contract has 18 decimals");
        let usdc = anvil.deploy(account, &with_6, &supply).await;
        let (weth, usdc) = (
            Token {
                address: weth,
                decimals: 18,
            },
            Token {
                address: usdc,
                decimals: 6,
            },
        );
        let (token0, token1) = match weth.address < usdc.address {
            true => (weth, usdc),
            false => (usdc, weth),
        };
        let (a, b) = (token0.address, token1.address);

        let factory = installed("v2-core-1.0.1/build/UniswapV2Factory.json");
        let factory = anvil.deploy(account, &factory, &account.abi_encode()).await;
        anvil.send(account, factory, createPairCall { a, b }).await;
        let v2 = anvil.call(factory, getPairCall { a, b }).await;

        let factory = installed(
            "v3-core-1.0.1/artifacts/contracts/UniswapV3Factory.sol/UniswapV3Factory.json",
        );
        let factory = anvil.deploy(account, &factory, &[]).await;
        let fee = U24::from(3000);
        anvil
            .send(account, factory, createPoolCall { a, b, fee })
            .await;
        let v3 = anvil.call(factory, getPoolCall { a, b, fee }).await;
        let caller = anvil.create(account, caller::creation()).await;
        let mut market = Self {
            anvil,
            account,
            token0,
            token1,
            v2,
            v3,
            caller,
        };
        for token in [token0, token1] {
            let amount = token.thousandths(1_000_000_000_000);
            market.pay(token, caller, amount).await;
        }
        // 3000 USDC for one WETH, as the pool wants it: the square root of token1 for token0, with 96 binary digits.
        let units = |token: Token| {
            token.thousandths(if token.decimals == 18 {
                1000
            } else {
                3_000_000
            })
        };
        let price: U256 = (units(token1) << 192) / units(token0);
        let sqrt_price = U160::from(price.root(2));
        let start = initializeCall {
            sqrtPriceX96: sqrt_price,
        };
        market.anvil.send(account, v3, start).await;
        market
    }

    pub(crate) fn filter(&self) -> Filter {
        Filter {
            addresses: vec![self.v2, self.v3],
            signatures: SIGNATURES.to_vec(),
        }
    }

    /// All logs of the pools, as the node has them.
    pub(crate) async fn logs(&mut self) -> Vec<Log> {
        let head = self.anvil.rpc().await.head().await.unwrap();
        let filter = self.filter();
        self.anvil
            .rpc()
            .await
            .logs(&filter, 0..=head)
            .await
            .unwrap()
    }

    async fn pay(&mut self, token: Token, to: Address, amount: U256) {
        let call = transferCall { to, amount };
        self.anvil.send(self.account, token.address, call).await;
    }

    /// `Sync` and `Mint`.
    pub(crate) async fn mint_v2(&mut self, weth: u64) {
        for token in [self.token0, self.token1] {
            let amount = token.thousandths(if token.decimals == 18 {
                weth
            } else {
                weth * 3000
            });
            self.pay(token, self.v2, amount).await;
        }
        let mint = V2::mintCall { to: self.account };
        self.anvil.send(self.account, self.v2, mint).await;
    }

    /// `Sync` and `Burn`.
    pub(crate) async fn burn_v2(&mut self, liquidity: U256) {
        let pair = Token {
            address: self.v2,
            decimals: 18,
        };
        self.pay(pair, self.v2, liquidity).await;
        let burn = V2::burnCall { to: self.account };
        self.anvil.send(self.account, self.v2, burn).await;
    }

    /// `Sync` and `Swap`: gives so many thousandths of the one token.
    pub(crate) async fn swap_v2(&mut self, gives_token0: bool, thousandths: u64) {
        let (reserve0, reserve1) = self.reserves().await;
        let (given, have, want) = match gives_token0 {
            true => (self.token0, reserve0, reserve1),
            false => (self.token1, reserve1, reserve0),
        };
        let amount = given.thousandths(thousandths);
        self.pay(given, self.v2, amount).await;
        // What the pool takes as a fee is 3 in 1000.
        let net = amount * U256::from(997);
        let out = net * want / (have * U256::from(1000) + net);
        let (out0, out1) = match gives_token0 {
            true => (U256::ZERO, out),
            false => (out, U256::ZERO),
        };
        let swap = V2::swapCall {
            amount0Out: out0,
            amount1Out: out1,
            to: self.account,
            data: Bytes::new(),
        };
        self.anvil.send(self.account, self.v2, swap).await;
    }

    /// `Mint`, over all prices.
    pub(crate) async fn mint_v3(&mut self, amount: u128) {
        let (lower, upper) = all_prices();
        let (to, data) = (self.caller, self.tokens());
        let mint = V3::mintCall {
            to,
            lower,
            upper,
            amount,
            data,
        };
        self.through_caller(mint.abi_encode()).await;
    }

    /// `Burn`.
    pub(crate) async fn burn_v3(&mut self, amount: u128) {
        let (lower, upper) = all_prices();
        let burn = V3::burnCall {
            lower,
            upper,
            amount,
        };
        self.through_caller(burn.abi_encode()).await;
    }

    /// `Swap`: gives so many thousandths of the one token.
    pub(crate) async fn swap_v3(&mut self, gives_token0: bool, thousandths: u64) {
        let given = if gives_token0 {
            self.token0
        } else {
            self.token1
        };
        let amount = I256::from_raw(given.thousandths(thousandths));
        let limit = match gives_token0 {
            true => U160::from(4_295_128_740_u64),
            false => "1461446703485210103287273052203988822378723970341"
                .parse()
                .unwrap(),
        };
        let (to, data) = (self.caller, self.tokens());
        let swap = V3::swapCall {
            to,
            zeroForOne: gives_token0,
            amount,
            limit,
            data,
        };
        self.through_caller(swap.abi_encode()).await;
    }

    fn tokens(&self) -> Bytes {
        (self.token0.address, self.token1.address)
            .abi_encode()
            .into()
    }

    async fn through_caller(&mut self, call: Vec<u8>) {
        let data = [B256::left_padding_from(self.v3.as_slice()).to_vec(), call].concat();
        self.anvil
            .send_raw(self.account, Some(self.caller), data)
            .await;
    }

    /// What the V2 pool says of itself.
    pub(crate) async fn reserves(&mut self) -> (U256, U256) {
        let said = self.anvil.call(self.v2, getReservesCall {}).await;
        (U256::from(said.reserve0), U256::from(said.reserve1))
    }

    /// What the V3 pool says of itself.
    pub(crate) async fn sqrt_price(&mut self) -> U256 {
        let said = self.anvil.call(self.v3, slot0Call {}).await;
        U256::from(said.sqrtPriceX96)
    }

    /// One of several things that happen in pools, each with logs.
    pub(crate) async fn trade(&mut self, number: u64) {
        let size = 100 + number * 37 % 900;
        let gives_token0 = number.is_multiple_of(4) || number % 4 == 1;
        let size = self.sized(gives_token0, size);
        match number % 6 {
            0 | 4 => self.swap_v2(gives_token0, size).await,
            1 | 3 => self.swap_v3(gives_token0, size).await,
            2 => self.mint_v3(1_000_000_000_000 + u128::from(number)).await,
            _ => self.burn_v3(500_000_000_000 + u128::from(number)).await,
        }
    }

    /// So many thousandths of WETH, or what they are worth.
    fn sized(&self, of_token0: bool, thousandths: u64) -> u64 {
        let given = if of_token0 { self.token0 } else { self.token1 };
        if given.decimals == 18 {
            thousandths
        } else {
            thousandths * 3000
        }
    }
}

fn all_prices() -> (I24, I24) {
    let end = I24::try_from(887_220).unwrap();
    (-end, end)
}
