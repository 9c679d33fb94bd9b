//! What must be right about a Google service account before anybody signs with it.
//!
//! Told with the configuration, because a wrong file is best told of at the start, and asked again before each exchange,
//! because the library that signs panics on a token address that is none. Whether the key fits, only Google knows. Sources: Google Cloud IAM,
//! "Service account keys"; yup-oauth2 12.1.2.

use serde::Deserialize;
use url::Url;

#[derive(Deserialize)]
struct Key {
    r#type: Option<String>,
    private_key: Option<String>,
    client_email: Option<String>,
    token_uri: Option<String>,
}

/// What is wrong with the text of a service account, if anything is.
pub fn fault(json: &str) -> Option<String> {
    let Ok(key) = serde_json::from_str::<Key>(json) else {
        return Some("it is not the JSON of a service account".to_owned());
    };
    if let Some(other) = key.r#type.as_deref().filter(|kind| *kind != "service_account") {
        let shown: String =
            other.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(32).collect();
        return Some(format!("it is of type `{shown}`, and only `service_account` can sign in here"));
    }
    let members = [
        ("private_key", &key.private_key),
        ("client_email", &key.client_email),
        ("token_uri", &key.token_uri),
    ];
    if let Some((name, _)) = members.iter().find(|(_, value)| value.as_deref().is_none_or(str::is_empty)) {
        return Some(format!("it has no `{name}`"));
    }
    if !key.private_key.is_some_and(|pem| pem.contains("-----BEGIN") && pem.contains("PRIVATE KEY-----")) {
        return Some("its `private_key` is no PEM private key".to_owned());
    }
    let usable = key.token_uri.is_some_and(|uri| is_address(&uri));
    (!usable).then(|| "its `token_uri` is no http or https address".to_owned())
}

/// Both parsers must take it: ours for what it means, `http`'s because that is the one that is dialled with.
fn is_address(uri: &str) -> bool {
    let known = Url::parse(uri).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    known && uri.parse::<http::Uri>().is_ok_and(|uri| uri.authority().is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn account(member: &str, value: &str) -> String {
        let mut key = json!({
            "type": "service_account",
            "private_key": "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n",
            "client_email": "a@b.iam.gserviceaccount.com",
            "token_uri": "https://oauth2.googleapis.com/token",
        });
        key[member] = value.into();
        key.to_string()
    }

    #[test]
    fn a_token_address_that_cannot_be_dialled_is_found_before_anybody_dials_it() {
        assert_eq!(fault(&account("token_uri", "http://127.0.0.1:9/token")), None);
        for uri in ["", "/token", "ftp://h/t", "http://", "not an address", "https://h/a b", "http://[::1"] {
            assert!(fault(&account("token_uri", uri)).unwrap().contains("token_uri"), "{uri}");
        }
    }

    #[test]
    fn what_is_no_service_account_is_told_without_telling_the_key() {
        assert_eq!(fault("{}").unwrap(), "it has no `private_key`");
        assert_eq!(fault("sk-secret").unwrap(), "it is not the JSON of a service account");
        assert!(fault(&account("type", "authorized_user")).unwrap().contains("`authorized_user`"));
        let wrong = fault(&account("private_key", "sk-secret")).unwrap();
        assert!(wrong.contains("no PEM") && !wrong.contains("sk-secret"));
    }
}
