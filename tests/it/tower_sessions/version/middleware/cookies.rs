//! The cookie of a session, from its first value to its end.

use super::new_site;

#[test]
fn the_first_value_sets_a_cookie_that_scripts_cannot_read() {
    let (on, site) = new_site();
    on.wait(async {
        let first = site.ask("/count", None).await;
        assert_eq!((first.status, first.body.as_str()), (200, "1"));
        let set = first.set_cookie.as_ref().unwrap();
        for attribute in [
            "HttpOnly",
            "SameSite=Strict",
            "Secure",
            "Path=/",
            "Max-Age=1800",
        ] {
            assert!(set.contains(attribute), "{set}");
        }
        let cookie = first.cookie();
        assert_eq!(cookie.len(), "id=".len() + 22);
        let second = site.ask("/count", Some(&cookie)).await;
        assert_eq!(
            (second.body.as_str(), second.cookie()),
            ("2", cookie.clone())
        );
        // A request that only reads sets no cookie.
        let third = site.ask("/peek", Some(&cookie)).await;
        assert_eq!((third.body.as_str(), third.set_cookie), ("Some(2)", None));
    });
    assert_eq!(on.schema.count("true"), 1);
}

#[test]
fn a_request_that_stores_nothing_creates_no_session() {
    let (on, site) = new_site();
    on.wait(async {
        for path in ["/", "/peek"] {
            assert_eq!(site.ask(path, None).await.set_cookie, None);
        }
    });
    assert_eq!(on.schema.count("true"), 0);
}

#[test]
fn a_forged_id_is_never_used_for_a_session() {
    let (on, site) = new_site();
    on.wait(async {
        for id in [
            "AAAAAAAAAAAAAAAAAAAAAA",
            "malformed",
            "",
            "'",
            "AAAAAAAAAAAAAAAAAAAAAB",
        ] {
            let sent = format!("id={id}");
            let counted = site.ask("/count", Some(&sent)).await;
            assert_eq!((counted.status, counted.body.as_str()), (200, "1"));
            assert_ne!(counted.cookie(), sent);
        }
        // With `clear`, the middleware tries to save a session with the forged id.
        let cleared = site.ask("/clear", Some("id=AAAAAAAAAAAAAAAAAAAAAA")).await;
        assert_eq!((cleared.status, cleared.set_cookie), (500, None));
    });
    assert_eq!(on.schema.count("session_key = 'AAAAAAAAAAAAAAAAAAAAAA'"), 0);
    assert_eq!(on.schema.count("true"), 5);
}

#[test]
fn a_removed_value_is_absent() {
    let (on, site) = new_site();
    on.wait(async {
        let cookie = site.visitor().await;
        assert_eq!(site.ask("/remove", Some(&cookie)).await.status, 200);
        assert_eq!(site.ask("/peek", Some(&cookie)).await.body, "None");
    });
}

#[test]
fn cycle_id_replaces_the_id_and_the_old_one_is_invalid() {
    let (on, site) = new_site();
    on.wait(async {
        let old = site.visitor().await;
        let cycled = site.ask("/cycle", Some(&old)).await;
        let new = cycled.cookie();
        assert_ne!(new, old);
        assert_eq!(site.ask("/count", Some(&new)).await.body, "2");
        // The answer removes the cookie, even if the browser has the new one by then. The documentation warns of that.
        let late = site.ask("/peek", Some(&old)).await;
        assert_eq!(
            (late.body.as_str(), late.cookie().as_str()),
            ("None", "id=")
        );
    });
    assert_eq!(on.schema.count("true"), 1);
}

#[test]
fn flush_deletes_the_session_and_its_cookie() {
    let (on, site) = new_site();
    let cookie = on.wait(site.visitor());
    on.wait(async {
        let flushed = site.ask("/flush", Some(&cookie)).await;
        assert_eq!((flushed.status, flushed.cookie().as_str()), (200, "id="));
        let removal = flushed.set_cookie.unwrap();
        assert!(
            removal.contains("Max-Age=0") && removal.contains("Path=/"),
            "{removal}"
        );
        // Browsers ignore this if the name of the cookie begins with `__Host-` or `__Secure-`. The documentation
        // warns of that.
        assert!(!removal.contains("Secure"), "{removal}");
    });
    assert_eq!(on.schema.count("true"), 0);
    on.wait(async {
        let again = site.ask("/count", Some(&cookie)).await;
        assert_eq!(again.body, "1");
        assert_ne!(again.cookie(), cookie);
    });
}

/// The documentation explains that the old id can be used again in this case.
#[test]
fn values_stored_after_flush_are_in_a_new_session_with_the_old_id() {
    let (on, site) = new_site();
    on.wait(async {
        let cookie = site.visitor().await;
        let answer = site.ask("/flush-and-store", Some(&cookie)).await;
        assert_eq!((answer.status, answer.cookie()), (200, cookie));
    });
    assert_eq!(on.schema.count("true"), 1);
    assert_eq!(on.schema.count(r#"session_data = '{"text":"crab"}'"#), 1);
}
