//! Resources that stand alone, as `update` gets them: the object that is `linux.resources` in a config.

use super::{MAX_SIZE, repair};
use crate::plan::resources::{self, Resources};
use crate::plan::{Problem, Problems};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::Read;

/// Reads the JSON value that `input` begins with. Does not wait for the end of the input.
pub fn read_resources(input: impl Read) -> Result<Value> {
    let mut values = serde_json::Deserializer::from_reader(input.take(MAX_SIZE as u64)).into_iter();
    match values.next() {
        Some(value) => value.context("parse resources"),
        None => bail!("parse resources: there is nothing"),
    }
}

/// The resources in `value`, and warnings about what of them is ignored. Places in errors are those in `value`.
///
/// Errors: [`Problems`], with everything that is wrong.
pub fn resources(value: Value) -> Result<(Resources, Vec<String>), Problems> {
    let (typed, misfits) = repair::read_resources(value).map_err(Problems)?;
    let (mut problems, mut warnings): (Vec<Problem>, Vec<String>) = Default::default();
    let resources = resources::read("", &typed, &mut problems, &mut warnings);
    let problems = misfits.with(problems);
    if problems.is_empty() { Ok((resources, warnings)) } else { Err(Problems(problems)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::resources::Limit;
    use serde_json::json;

    fn problems(value: Value) -> Vec<String> {
        resources(value).unwrap_err().0.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn engines_resources_are_read() {
        let docker = json!({
            "devices": null,
            "memory": { "limit": 67108864, "reservation": 0, "kernel": 0 },
            "cpu": { "shares": 0, "cpus": "", "mems": "" },
            "pids": {},
            "blockIO": { "weight": 0 },
        });
        let (resources, warnings) = super::resources(docker).unwrap();
        assert!(warnings.is_empty());
        let mut expected = Resources::default();
        expected.memory.limit = Some(Limit::To(67_108_864));
        assert_eq!(resources, expected);
        assert_eq!(super::resources(json!({})).unwrap().0, Resources::default());
        assert_eq!(super::resources(json!({ "memory": null })).unwrap().0, Resources::default());
    }

    #[test]
    fn everything_that_is_wrong_is_named() {
        let wrong = json!({
            "memory": { "limit": "much", "swap": -7 },
            "cpu": { "cpus": "x", "shares": -1 },
            "blockIO": { "throttleReadBpsDevice": [{ "major": 8, "minor": 0 }, { "major": -8, "minor": 0, "rate": 1 }] },
        });
        let mut found = problems(wrong);
        found.sort();
        assert_eq!(
            found,
            [
                "blockIO.throttleReadBpsDevice[0].rate: is required",
                "blockIO.throttleReadBpsDevice[1]: -8:0 is not a device number",
                "cpu.cpus: \"x\" is not a list of numbers and ranges",
                "cpu.shares: invalid value: integer `-1`, expected a number from 0 to 18446744073709551615",
                "memory.limit: invalid type: string \"much\", expected a number from -9223372036854775808 to 9223372036854775807",
                "memory.swap: -7 is neither a number of bytes nor -1",
            ]
        );
        assert_eq!(problems(json!([1])), ["resources: is an array, not an object"]);
        assert_eq!(problems(json!("x")), ["resources: is a string, not an object"]);
    }

    #[test]
    fn one_value_is_read_and_no_more() {
        let mut rest: &[u8] = br#" {"pids":{"limit":3}} {"#;
        assert_eq!(read_resources(&mut rest).unwrap(), json!({ "pids": { "limit": 3 } }));
        assert_eq!(format!("{:#}", read_resources(&b""[..]).unwrap_err()), "parse resources: there is nothing");
        assert!(format!("{:#}", read_resources(&b"{,"[..]).unwrap_err()).starts_with("parse resources: "));
    }
}
