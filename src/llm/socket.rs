//! How a WebSocket is opened (RFC 6455, section 4): what a client asks for, and what of it an upstream gets. What is
//! said once it is open is not looked into.
//!
//! A browser can set no header there, so OpenAI takes the key as one of the subprotocols, and the account's ids beside
//! it. These are the client's business with us: they are taken out, and the others go on in their order.
//! Source: OpenAI's guides "Realtime API with WebSockets" and "WebSocket mode" (of the Responses API).

use http::header::{
    CONNECTION, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use http::{HeaderMap, HeaderName};
use url::form_urlencoded;

/// The subprotocol that is a key.
const KEY: &str = "openai-insecure-api-key.";
/// Those that are about the client's account.
const ACCOUNT: [&str; 3] = [KEY, "openai-organization.", "openai-project."];
/// What goes on as it came.
const OPENING: [HeaderName; 3] = [SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, SEC_WEBSOCKET_EXTENSIONS];

/// Whether a request asks for a WebSocket.
pub fn is_asked_for(headers: &HeaderMap) -> bool {
    elements(headers, &UPGRADE).any(|protocol| protocol.eq_ignore_ascii_case("websocket"))
        && elements(headers, &CONNECTION).any(|option| option.eq_ignore_ascii_case("upgrade"))
}

/// The keys among the subprotocols.
pub fn keys(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    elements(headers, &SEC_WEBSOCKET_PROTOCOL).filter_map(|protocol| protocol.strip_prefix(KEY))
}

/// The headers with which an upstream is asked for the same.
pub fn opening(headers: &HeaderMap) -> Vec<(HeaderName, String)> {
    let joined = |name: HeaderName| {
        let account = |element: &&str| ACCOUNT.iter().any(|start| element.starts_with(start));
        let kept: Vec<&str> = elements(headers, &name).filter(|element| !account(element)).collect();
        (!kept.is_empty()).then(|| (name, kept.join(", ")))
    };
    let asked = [(CONNECTION, "Upgrade".to_owned()), (UPGRADE, "websocket".to_owned())];
    asked.into_iter().chain(OPENING.into_iter().chain([SEC_WEBSOCKET_PROTOCOL]).filter_map(joined)).collect()
}

/// The model that a query names.
pub fn model(query: &str) -> Option<String> {
    let mut members = form_urlencoded::parse(query.as_bytes());
    members.find(|(name, model)| name == "model" && !model.is_empty()).map(|(_, model)| model.into_owned())
}

/// The query with another model in the place of the one that it names.
pub fn with_model(query: &str, model: &str) -> String {
    let named = |member: &&str| member.split('=').next() == Some("model");
    let renamed: String = form_urlencoded::byte_serialize(model.as_bytes()).collect();
    let members = query.split('&').map(|member| match named(&member) {
        true => format!("model={renamed}"),
        false => member.to_owned(),
    });
    members.collect::<Vec<_>>().join("&")
}

/// The elements of a header that is a list.
fn elements<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lists = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).map(str::trim).filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_websocket_is_asked_for_by_two_headers() {
        let asks =
            |upgrade, connection| is_asked_for(&headers(&[(UPGRADE, upgrade), (CONNECTION, connection)]));
        assert!(asks("websocket", "Upgrade") && asks("WebSocket", "keep-alive, upgrade"));
        assert!(!asks("h2c", "Upgrade, HTTP2-Settings") && !asks("websocket", "keep-alive"));
        assert!(!is_asked_for(&headers(&[(UPGRADE, "websocket")])));
    }

    #[test]
    fn what_the_subprotocols_tell_of_the_account_stays_here() {
        let said = "realtime, openai-insecure-api-key.sk-a,openai-organization.org-1, openai-project.p, openai-beta.x";
        let headers = headers(&[(SEC_WEBSOCKET_PROTOCOL, said), (SEC_WEBSOCKET_KEY, "k==")]);
        assert_eq!(keys(&headers).collect::<Vec<_>>(), ["sk-a"]);
        let opening = opening(&headers);
        let value =
            |name: &HeaderName| opening.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
        assert_eq!(value(&SEC_WEBSOCKET_PROTOCOL), Some("realtime, openai-beta.x"));
        assert_eq!((value(&SEC_WEBSOCKET_KEY), value(&SEC_WEBSOCKET_VERSION)), (Some("k=="), None));
        assert_eq!((value(&UPGRADE), value(&CONNECTION)), (Some("websocket"), Some("Upgrade")));
    }

    #[test]
    fn a_key_alone_leaves_no_subprotocol() {
        let headers = headers(&[(SEC_WEBSOCKET_PROTOCOL, "openai-insecure-api-key.sk-a")]);
        assert!(opening(&headers).iter().all(|(name, _)| *name != SEC_WEBSOCKET_PROTOCOL));
    }

    #[test]
    fn the_model_of_a_query_is_found_and_replaced() {
        assert_eq!(model("a=1&model=vendor%2Fm+1").as_deref(), Some("vendor/m 1"));
        assert_eq!((model("model="), model("models=x"), model("")), (None, None, None));
        assert_eq!(
            with_model("model=a&x=%20&model&models=a", "v/b c"),
            "model=v%2Fb+c&x=%20&model=v%2Fb+c&models=a"
        );
    }
}
