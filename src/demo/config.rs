//! The configuration of the demonstration, and what it prints.
//!
//! Three credentials lead to the one upstream, so that a failure on one is seen to be made good by the next.

use std::collections::hash_map::RandomState;
use std::fmt::Write;
use std::hash::{BuildHasher, Hasher};

use serde_json::json;

use super::MODELS;

/// A master key for one run. The randomness of the standard library's hash maps is enough for a listener on loopback.
pub fn fresh_key() -> String {
    let half = || RandomState::new().build_hasher().finish();
    format!("sk-demo-{:016x}{:016x}", half(), half())
}

/// The YAML text: the router on `port`, in front of the demonstration upstream on `upstream_port`, both on loopback.
pub fn config(port: u16, upstream_port: u16, master_key: &str) -> String {
    let credential = |name: &str| {
        json!({
            "name": name,
            "api_key": format!("{name}-key"),
            "base_url": format!("http://127.0.0.1:{upstream_port}"),
        })
    };
    let credentials = ["demo-a", "demo-b", "demo-c"].map(credential);
    let models = MODELS.map(|(name, _)| json!({ "name": name }));
    let whole = json!({
        "server": { "host": "127.0.0.1", "port": port, "master_key": master_key },
        "monitoring": { "public": true, "prometheus_listen": "off" },
        "admin": { "listen": "off" },
        "credentials": credentials,
        "models": models,
    });
    serde_yaml::to_string(&whole).unwrap_or_default()
}

/// What a newcomer reads: the address, the key, two clients to paste, the models, and what to try.
pub fn banner(port: u16, key: &str) -> String {
    let base = format!("http://127.0.0.1:{port}");
    let mut models = String::new();
    for (name, what) in MODELS {
        let _ = writeln!(models, "  {name:<13} {what}");
    }
    format!(
        r#"
Auto AI Router, demonstration: no provider key and no network needed. Stop it with Ctrl-C.

  address  {base}/v1
  key      {key}
  page     {base}/vhealth

Models
{models}
curl
curl -N {base}/v1/chat/completions \
  -H 'authorization: Bearer {key}' -H 'content-type: application/json' \
  -d '{{"model":"demo-echo","stream":true,"messages":[{{"role":"user","content":"hello from curl"}}]}}'

Python (pip install openai)
from openai import OpenAI
client = OpenAI(base_url="{base}/v1", api_key="{key}")
answer = client.chat.completions.create(model="demo-flaky", messages=[{{"role": "user", "content": "hello"}}])
print(answer.choices[0].message.content)

To watch failover, ask demo-flaky a few times: the lines below name the credential that failed and the one that
answered instead, and the page shows its strikes and bans.
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_has_its_own_key() {
        let key = fresh_key();
        assert!(key.starts_with("sk-demo-") && key.len() == 40);
        assert_ne!(key, fresh_key());
    }

    #[test]
    fn the_configuration_is_yaml_with_three_credentials() {
        let read: serde_yaml::Value = serde_yaml::from_str(&config(8080, 9000, "sk-demo-x")).unwrap();
        assert_eq!(read["credentials"].as_sequence().unwrap().len(), 3);
        assert_eq!(read["credentials"][2]["base_url"], "http://127.0.0.1:9000");
        assert_eq!(read["server"]["port"], 8080);
        assert_eq!(read["models"].as_sequence().unwrap().len(), 4);
    }

    #[test]
    fn the_banner_can_be_pasted() {
        let banner = banner(8080, "sk-demo-x");
        assert!(banner.contains("http://127.0.0.1:8080/v1") && banner.contains("Bearer sk-demo-x"));
        assert!(MODELS.iter().all(|(name, _)| banner.contains(name)));
    }
}
