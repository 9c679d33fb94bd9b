//! Lists of models and aliases that are wrong, each with the place and the words of its problem.

use super::broken::after;

#[test]
fn lists_of_models() {
    after(
        "models: [{name: m}, {name: l, models: [m, n]}]",
        &["4:43 the model `n` is not in `models`, so nobody serves it"],
    );
    after("models: [{name: m}, {name: l, models: [m, m]}]", &["4:43 the model `m` is listed twice"]);
    after("models: [{name: l, models: [l]}]", &["4:29 the model `l` is a list of models itself"]);
    after("models: [{name: m}, {name: l, models: [m], rpm: 5}]", &["4:49 a list of models has no `rpm`"]);
    after(
        "models: [{name: m}, {name: l, models: [m], strategy: latency}]",
        &["4:54 a list is asked in its order, or evenly"],
    );
    after(
        "models: [{name: m}, {name: l, models: [m]}, {name: n, fallbacks: [l]}]",
        &["4:67 the fallback `l` is a list of models itself"],
    );
    after(
        "models: [{name: '*'}]",
        &["4:17 `*` stands for every name that nobody serves, and needs `models`"],
    );
    after(
        "models: [{name: '*', models: [m]}]",
        &["4:17 every name is served already, so nothing is left for `*`"],
    );
    after("models: [{name: m, strategy: fair}]", &["4:30 `strategy`: `fair` is none of `round_robin`, `priority`, `least_used`, `even`, `latency`, `affinity`"]);
}

#[test]
fn aliases() {
    let with = |aliases: &str, expected: &[&str]| {
        after(
            &format!("models: [{{name: m}}, {{name: l, models: [m]}}]\nmodel_aliases: {{{aliases}}}"),
            expected,
        );
    };
    with("a: m, b: l, gpt-4.1: m", &[]);
    with("a: x", &["5:20 the model `x` is not in `models`, so nobody serves it"]);
    with("a: a", &["5:20 the alias `a` stands for itself"]);
    with("a: b, b: m", &["5:20 the alias `a` stands for `b`, an alias itself"]);
    with("m: l", &["5:20 `m` is a model of its own, and an alias besides"]);
    with("'*': m", &["5:22 `*` cannot be another name of a model"]);
}
