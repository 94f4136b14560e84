//! AWS's own cache for Secrets Manager, over a client whose answers are made here, as in its own benchmark.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueOutput;
use aws_secretsmanager_caching::SecretsManagerCachingClient;
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use keyfob_bench_layers::{Contestant, Fixture, Outcome, Reader};

struct Aws {
    cache: SecretsManagerCachingClient,
    names: Vec<String>,
}

impl Reader for Aws {
    async fn read(&self, index: usize) -> usize {
        let answer = self.cache.get_secret_value(&self.names[index], None, None, false).await;
        let secret = black_box(&answer).as_ref().ok();
        secret.and_then(|secret| secret.secret_string.as_ref()).map_or(0, String::len)
    }
}

pub(crate) fn filled(fixture: &Fixture) -> Outcome<Contestant> {
    // Every name has the same value: the cache keeps what it was told under the name that it asked for.
    let answer = mock!(Client::get_secret_value).then_output(|| {
        GetSecretValueOutput::builder()
            .name("secret")
            .arn("arn:aws:secretsmanager:us-east-1:000000000000:secret:secret-abcdef")
            .version_id("11111111-2222-3333-4444-555555555555")
            .version_stages("AWSCURRENT")
            .secret_string(Fixture::value(0))
            .build()
    });
    let client = mock_client!(aws_sdk_secretsmanager, RuleMode::MatchAny, [&answer]);
    let size = NonZeroUsize::new(2 * fixture.names.len()).ok_or("no names")?;
    let cache = SecretsManagerCachingClient::new(client, size, Duration::from_secs(86_400), false)?;
    let names: Vec<String> = crate::secrets(fixture).map(|(name, _)| name).collect();
    crate::block_on(async {
        for name in &names {
            cache
                .get_secret_value(name, None, None, false)
                .await
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    })?;
    let asked = answer.num_calls();
    if asked != names.len() {
        return Err(format!("{asked} calls for {} names", names.len()).into());
    }
    Ok(Contestant::new("aws_secretsmanager_caching", Aws { cache, names }))
}
