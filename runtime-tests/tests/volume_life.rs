//! How long an anonymous volume lives: until `delete --volumes`, or a foreground `run`, lets its last user go.

use runtime_tests::{Case, needs};

fn anonymous(case: &Case) -> Vec<String> {
    case.volume_names().into_iter().filter(|name| name.len() == 64).collect()
}

#[test]
fn an_anonymous_volume_goes_with_its_last_user_however_that_came_by_it() {
    needs!(Rvol);
    let mut case = Case::new();
    case.pause();
    case.create_with(&["-v", "/anonymous", "--image-volume", "/image", "-v", "named:/named"]).ok();
    assert_eq!(anonymous(&case).len(), 2);
    let [second, third] = ["second", "third"].map(|suffix| case.other_id(suffix));
    case.finish(case.other("create", &second, &["--volumes-from", &case.id])).ok();
    case.invoke(&["delete", "--force", "--volumes", &case.id]).ok();
    assert_eq!(anonymous(&case).len(), 2, "another container uses them");
    // Of a container that has them of another one itself.
    case.finish(case.other("create", &third, &["--volumes-from", &second])).ok();
    case.invoke(&["delete", "--force", "--volumes", &second]).ok();
    assert_eq!(anonymous(&case).len(), 2, "the third container uses them");
    case.invoke(&["delete", "--force", "--volumes", &third]).ok();
    assert_eq!(case.volume_names(), ["named"]);
}

#[test]
fn a_foreground_run_takes_an_inherited_anonymous_volume_with_it() {
    needs!(Rvol);
    let mut case = Case::new();
    case.pause();
    case.create_with(&["-v", "/anonymous"]).ok();
    let other = case.other_id("other");
    case.args(&["/bin/true"]);
    case.finish(case.other("run", &other, &["--volumes-from", &case.id])).ok();
    assert_eq!(anonymous(&case).len(), 1, "the first container uses it");
    case.finish(case.other("create", &other, &["--volumes-from", &case.id])).ok();
    case.delete_force().ok();
    assert_eq!(anonymous(&case).len(), 1, "a plain delete keeps it");
    case.invoke(&["delete", "--force", "--volumes", &other]).ok();
    assert_eq!(case.volume_names(), [""; 0]);
}

/// As in Docker: who names an anonymous volume himself has a named one.
#[test]
fn an_anonymous_volume_asked_for_by_name_stays() {
    needs!(Rvol);
    let mut case = Case::new();
    case.pause();
    case.create_with(&["-v", "/anonymous"]).ok();
    let name = anonymous(&case).remove(0);
    let other = case.other_id("other");
    case.finish(case.other("create", &other, &["-v", &format!("{name}:/data")])).ok();
    case.delete_force().ok();
    case.invoke(&["delete", "--force", "--volumes", &other]).ok();
    assert_eq!(case.volume_names(), [name.as_str()]);
    case.volume(&["prune", "-f"]).ok();
    assert_eq!(case.volume_names(), [""; 0]);
}
