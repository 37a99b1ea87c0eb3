use super::value::{TEXT_MAP, TEXTS};
use super::*;
use std::collections::BTreeMap;
use std::rc::Rc;

fn volume() -> Value {
    let labels = BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]);
    Value::Object(Rc::new(Object {
        kind: "volume.Volume",
        fields: vec![
            ("Labels", Value::text_map(&labels)),
            ("Name", Value::Text("data".into())),
            ("Options", Value::text_map(&BTreeMap::new())),
            ("UsageData", Value::Nil("*volume.UsageData")),
        ],
        methods: false,
        labels: BTreeMap::new(),
        omitted: &["UsageData"],
        printed: None,
    }))
}

fn shown(template: &str) -> String {
    let rendered = Template::parse(template).and_then(|template| template.render(&volume()));
    rendered.unwrap_or_else(|error| error)
}

#[test]
fn templates_print_what_go_prints() {
    let cases = [
        ("{{.Name}}", "data"),
        ("{{json .Labels}} {{json .Options}}", r#"{"a":"1","b":"2"} null"#),
        ("{{json .}}", r#"{"Labels":{"a":"1","b":"2"},"Name":"data","Options":null}"#),
        ("{{.Labels}} {{.Options}} {{.UsageData}}", "map[a:1 b:2] map[] <nil>"),
        ("{{.Labels.a}}{{index .Labels \"b\"}}{{index .Labels \"c\"}}{{.Labels.c}}", "12<no value>"),
        ("{{.Name | upper}} {{upper .Name | lower}}", "DATA data"),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}", "a=1;b=2;"),
        ("{{range .Labels}}<{{.}}>{{end}}{{range .Options}}x{{else}}none{{end}}", "<1><2>none"),
        ("{{if .Options}}yes{{else if .Name}}name{{end}}", "name"),
        ("{{range $k, $v := .Labels}}{{$.Name}}{{end}}", "datadata"),
        ("a {{- /* nothing */ -}} b", "ab"),
        ("{{define \"t\"}}<{{.}}>{{end}}{{template \"t\" .Name}}", "<data>"),
        ("{{with $x := .Name}}{{$x}}{{end}}{{$n := 1}}{{$n = 2}}{{$n}}", "data2"),
        ("{{printf \"%5s|%-5s|%05d|%q\" \"ab\" \"cd\" 42 .Name}}", "   ab|cd   |00042|\"data\""),
        ("{{1e3}} {{1_0}} {{0x1F}} {{1.5}} {{'a'}}", "1000 10 31 1.5 97"),
        ("{{(split \"a,b\" \",\") | len}}{{slice .Name 1 2}}{{and .Name 3}}{{or 0 7}}", "2a37"),
    ];
    for (template, expected) in cases {
        assert_eq!(shown(template), expected, "{template}");
    }
}

#[test]
fn errors_are_gos() {
    let parse = [
        ("{{.Name", "unclosed action"),
        ("{{.Name}", "bad character U+007D '}'"),
        ("{{frob .Name}}", "function \"frob\" not defined"),
        ("{{if .Name}}", "unexpected EOF"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{}}", "missing value for command"),
        ("{{\"x}}", "unterminated quoted string"),
        ("{{$x}}", "undefined variable \"$x\""),
        ("{{(.Name}}", "unclosed left paren"),
        ("{{break}}", "{{break}} outside {{range}}"),
        ("{{range $x, 3}}{{end}}", "range can only initialize variables"),
        ("{{.Name | 3}}", "non executable command in pipeline stage 2"),
    ];
    for (template, expected) in parse {
        assert_eq!(shown(template), format!("template parsing error: template: :1: {expected}"), "{template}");
    }
    let run = [
        ("{{.Nope}}", "2: executing \"\" at <.Nope>: can't evaluate field Nope in type volume.Volume"),
        ("{{.Name.x}}", "7: executing \"\" at <.Name.x>: can't evaluate field x in type string"),
        (
            "{{.UsageData.Size}}",
            "12: executing \"\" at <.UsageData.Size>: nil pointer evaluating *volume.UsageData.Size",
        ),
        ("{{upper}}", "2: executing \"\" at <upper>: wrong number of args for upper: want 1 got 0"),
        ("{{len 3}}", "2: executing \"\" at <len 3>: error calling len: len of type int"),
    ];
    for (template, expected) in run {
        assert_eq!(shown(template), format!("template parsing error: template: :1:{expected}"), "{template}");
    }
}

#[test]
fn hostile_templates_end() {
    let deep = "{{define \"t\"}}{{template \"t\"}}{{end}}{{template \"t\"}}";
    assert!(shown(deep).contains("exceeded maximum template depth"));
    for (open, close) in [("(", ")"), ("{{if 1}}", "{{end}}")] {
        let nested = format!("{{{{{}1{}}}}}", open.repeat(50_000), close.repeat(50_000));
        assert!(shown(&nested).contains("max expression depth exceeded") || open != "(", "{open}");
        assert!(shown(&format!("{}{}", open.repeat(50_000), close.repeat(50_000))).len() > 9);
    }
    for odd in
        ["{{printf \"%99999999999s\" 1}}", "{{truncate \"é\" 1}}", "{{range $a,}}", "{{'", "{{-", "{{ -}}", "{{é}}"]
    {
        shown(odd);
    }
    assert_eq!((TEXTS, TEXT_MAP), ("[]string", "map[string]string"));
}
