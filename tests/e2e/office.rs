//! A server that asks for tokens, and whoever hands them out.

use std::time::Duration;

use ngrnotok::client::{ClientError, Config};
use ngrnotok_common::secret::Secret;
use ngrnotok_server::Config as ServerConfig;
use ngrnotok_server::auth::rules::Rules;
use ngrnotok_server::auth::token::{Token, TokenId};
use ngrnotok_server::auth::{Anonymous, Auth, NewToken, create_token, revoke_token};
use ngrnotok_server::names::{self, NameRules, Names};
use ngrnotok_server::store::Store;
use ngrnotok_tests::dns::Dns;
use ngrnotok_tests::origin::Origin;
use ngrnotok_tests::program::Scratch;
use ngrnotok_tests::raw_link::{ask, request_with};
use ngrnotok_tests::visitor::Answer;
use ngrnotok_tests::world::{Plan, RunningClient, World};

/// A server that asks for tokens, and its database as another process sees it.
pub(crate) struct Office {
    pub(crate) world: World,
    pub(crate) store: Store,
    scratch: Scratch,
}

impl Office {
    pub(crate) async fn open() -> Self {
        Self::open_with(|_| {}).await
    }

    /// The same with other settings.
    pub(crate) async fn open_with(adjust: fn(&mut ServerConfig)) -> Self {
        Self::build(World::plan().server(adjust), NameRules::default()).await
    }

    /// One that holds names for so long after their last use.
    pub(crate) async fn holding(hold: Duration) -> Self {
        let rules = NameRules {
            hold,
            ..NameRules::default()
        };
        Self::build(World::plan(), rules).await
    }

    /// One that believes this resolver.
    pub(crate) async fn asking(dns: &Dns, plan: Plan) -> Self {
        let rules = NameRules {
            dns: names::dns::Dns::new(Some(dns.address())),
            ..NameRules::default()
        };
        Self::build(plan, rules).await
    }

    async fn build(plan: Plan, rules: NameRules) -> Self {
        let scratch = Scratch::new();
        let store = Store::open(scratch.path()).expect("a new store");
        let names = Names::new(Some(store.clone()), rules);
        let auth = Auth::new(Some(store), Anonymous::WhileNoTokenExists);
        let plan = plan.server(move |config| {
            config.auth = auth;
            config.names = names;
        });
        Self {
            world: plan.start().await,
            store: Store::open(scratch.path()).expect("the same store"),
            scratch,
        }
    }

    /// Does with the database what only time does otherwise.
    pub(crate) fn tamper(&self, statement: &str) {
        let file = self.scratch.path().join("server.db");
        let database = rusqlite::Connection::open(file).expect("a database");
        database.execute_batch(statement).expect("good SQL");
    }

    /// A token of `ann` under these rules.
    pub(crate) async fn token(&self, rules: Rules) -> Secret {
        let token = NewToken {
            rules,
            ..NewToken::from("ann")
        };
        create_token(&self.store, token).await.expect("a token")
    }

    /// A token of an account that may do everything.
    pub(crate) async fn token_of(&self, account: &str) -> Secret {
        create_token(&self.store, account).await.expect("a token")
    }

    pub(crate) async fn revoke(&self, token: &Secret) {
        let revoked = revoke_token(&self.store, id(token)).await;
        revoked.expect("a store that writes").expect("a token");
    }

    /// A client of `app`, or what it is told instead of a session.
    pub(crate) async fn client(
        &self,
        token: &Secret,
        name: &str,
        app: &Origin,
    ) -> Result<RunningClient, ClientError> {
        RunningClient::start(self.config(token, name, app)).await
    }

    /// What such a client is made of.
    pub(crate) fn config(&self, token: &Secret, name: &str, app: &Origin) -> Config {
        Config {
            token: Some(token.clone()),
            ..self.world.client(name, app.target())
        }
    }

    /// What the gate answers to a token.
    pub(crate) async fn told(&self, token: &str) -> Answer {
        ask(&self.world, &request_with(token)).await.0
    }
}

fn id(token: &Secret) -> TokenId {
    Token::parse(token.expose()).expect("a token").id
}
