//! `ping`: who is there, and who is not.

use crate::support::Place;

#[test]
fn a_service_that_is_there_is_pinged_step_by_step_and_nobody_is_disturbed() {
    for place in Place::both("relay", "") {
        let relay = place.relay();
        let ended = place.run(&["ping", "ticks", "--count", "3", "--json"]);
        let said = ended.expect(0).json();
        assert_eq!(said["service"], "ticks");
        assert_eq!(said["round_trips"].as_array().unwrap().len(), 3);
        let steps = said["steps"].to_string();
        assert!(
            steps.contains("dialing") && steps.contains("greeting"),
            "{steps}"
        );
        assert!(!said["protocol"].as_str().unwrap().is_empty(), "{said}");
        let text = place.run(&["ping", "ticks"]).expect(0);
        let text = String::from_utf8_lossy(&text.stdout);
        assert!(text.contains("round trip"), "{text}");
        relay.terminate().expect(0);
    }
}

#[test]
fn a_service_that_is_not_there_is_an_error_at_once() {
    for place in Place::both("direct", "") {
        let ended = place.run(&["ping", "ticks"]).expect(1);
        ended.saying("nobody listens there");
        place.run(&["ping", "tocks"]).expect(2).saying("tocks");
    }
}
