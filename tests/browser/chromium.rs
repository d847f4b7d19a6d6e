//! Chromium in headless mode, controlled with the DevTools protocol through pipes.

use std::{
    cell::RefCell,
    env, fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::axe::Axe;

/// The time limit of each step.
const PATIENCE: Duration = Duration::from_secs(60);

const PROGRAMS: [&str; 5] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

const ARGS: [&str; 12] = [
    "--headless",
    // Chromium refuses to run its sandbox as root. The tests only visit pages of their own.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--remote-debugging-pipe",
];

/// A browser process, which ends when this is dropped.
pub(crate) struct Chromium {
    child: Child,
    pipe: RefCell<Pipe>,
    profile: PathBuf,
    axe: Option<Axe>,
}

struct Pipe {
    input: ChildStdin,
    answers: Receiver<Value>,
    calls: u64,
}

/// A page in its own browser context, which shares no cookies with other visitors.
pub(crate) struct Visitor<'a> {
    browser: &'a Chromium,
    context: Value,
    session: Value,
}

impl Chromium {
    /// Starts the program that `CHROMIUM` names, or the first of the usual programs. The pages that visitors come to
    /// are checked with `axe`.
    pub(crate) fn start(axe: Option<Axe>) -> Result<Chromium, String> {
        let named = env::var("CHROMIUM").ok();
        let mut programs = match &named {
            Some(named) => vec![named.as_str()],
            None => PROGRAMS.to_vec(),
        };
        programs.retain(|program| {
            let version = Command::new(program).arg("--version").output();
            version.is_ok_and(|output| output.status.success())
        });
        let program = programs.first();
        let program = program.ok_or("there is no Chromium; CHROMIUM may name the program")?;
        let profile = env::temp_dir().join(format!("session-postgres-{}", std::process::id()));
        // Chromium reads commands from file descriptor 3 and writes answers to file descriptor 4.
        let pipes = "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";
        let mut child = Command::new("sh")
            .args(["-c", pipes, "sh", program])
            .args(ARGS)
            .arg(format!("--user-data-dir={}", profile.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{program} does not start: {e}"))?;
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (to, answers) = mpsc::channel();
        thread::spawn(move || {
            for message in output.split(0).map_while(Result::ok) {
                // Events have no id and are ignored.
                let message: Value = serde_json::from_slice(&message).unwrap();
                if message.get("id").is_some() && to.send(message).is_err() {
                    break;
                }
            }
        });
        let pipe = Pipe {
            input,
            answers,
            calls: 0,
        };
        let chromium = Chromium {
            child,
            pipe: pipe.into(),
            profile,
            axe,
        };
        match chromium.call(&Value::Null, "Browser.getVersion", json!({})) {
            Ok(_) => Ok(chromium),
            Err(e) => Err(format!("{program} does not run here: {e}")),
        }
    }

    fn call(&self, session: &Value, method: &str, params: Value) -> Result<Value, String> {
        let mut pipe = self.pipe.borrow_mut();
        pipe.calls += 1;
        let mut message = json!({ "id": pipe.calls, "method": method });
        message["params"] = params;
        if !session.is_null() {
            message["sessionId"] = session.clone();
        }
        let sent = pipe.input.write_all(format!("{message}\0").as_bytes());
        sent.map_err(|e| e.to_string())?;
        loop {
            let answer = pipe.answers.recv_timeout(PATIENCE);
            let mut answer = answer.map_err(|e| format!("{method}: {e}"))?;
            if answer["id"] == pipe.calls {
                return match answer.get("error") {
                    Some(error) => Err(format!("{method}: {error}")),
                    None => Ok(answer["result"].take()),
                };
            }
        }
    }

    pub(crate) fn visitor(&self) -> Visitor<'_> {
        let call = |method, params| self.call(&Value::Null, method, params).unwrap();
        let context = call("Target.createBrowserContext", json!({}))["browserContextId"].take();
        let page = json!({ "url": "about:blank", "browserContextId": context });
        let target = call("Target.createTarget", page)["targetId"].take();
        let attach = json!({ "targetId": target, "flatten": true });
        let session = call("Target.attachToTarget", attach)["sessionId"].take();
        Visitor {
            browser: self,
            context,
            session,
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // The browser ends its own processes and then closes the pipe.
        let _ = self.call(&Value::Null, "Browser.close", json!({}));
        while self.pipe.borrow().answers.recv_timeout(PATIENCE).is_ok() {}
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.profile);
    }
}

impl Visitor<'_> {
    fn call(&self, method: &str, params: Value) -> Value {
        self.browser.call(&self.session, method, params).unwrap()
    }

    /// Evaluates a JavaScript expression. Returns null if the page is just being replaced by another.
    fn evaluate(&self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true });
        let mut answer = self.browser.call(&self.session, "Runtime.evaluate", params);
        match &mut answer {
            Ok(answer) => answer["result"]["value"].take(),
            Err(_) => Value::Null,
        }
    }

    /// Evaluates a JavaScript expression, waits for its promise and returns the value.
    pub(crate) fn run(&self, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.call("Runtime.evaluate", params);
        let exception = &answer["exceptionDetails"];
        assert!(exception.is_null(), "{exception}");
        answer["result"]["value"].take()
    }

    /// Sets the color scheme that the visitor prefers: light or dark.
    pub(crate) fn prefer(&self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.call(
            "Emulation.setEmulatedMedia",
            json!({ "features": [feature] }),
        );
    }

    /// Calls `by`, which must lead to another page, waits until that page is loaded, and checks its accessibility.
    fn leave(&self, by: impl FnOnce()) {
        self.evaluate("window.old = true");
        by();
        let begun = Instant::now();
        while self.evaluate("!window.old && document.readyState == 'complete'") != true {
            assert!(begun.elapsed() < PATIENCE, "no other page: {}", self.text());
            thread::sleep(Duration::from_millis(5));
        }
        // Pages of other sites are not part of the examples.
        let is_ours = self.evaluate("location.protocol") == "http:";
        if let Some(axe) = self.browser.axe.as_ref().filter(|_| is_ours) {
            axe.check(self);
        }
    }

    pub(crate) fn open(&self, url: &str) {
        self.leave(|| drop(self.call("Page.navigate", json!({ "url": url }))));
    }

    pub(crate) fn reload(&self) {
        self.leave(|| drop(self.call("Page.reload", json!({}))));
    }

    /// Returns the visible text of the page.
    pub(crate) fn text(&self) -> String {
        let text = self.evaluate("document.body.innerText");
        text.as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn shows(&self, text: &str) -> bool {
        self.text().contains(text)
    }

    pub(crate) fn path(&self) -> String {
        let path = self.evaluate("location.pathname");
        path.as_str().unwrap_or_default().to_owned()
    }

    /// Returns the number of visits on the page.
    pub(crate) fn count(&self) -> u64 {
        let count = self.evaluate("Number(document.querySelector('strong').innerText)");
        count
            .as_u64()
            .unwrap_or_else(|| panic!("no number: {}", self.text()))
    }

    /// Scrolls to a link or button and clicks it with the mouse.
    pub(crate) fn click(&self, label: &str) {
        let label = json!(label);
        let center = self.evaluate(&format!(
            "(() => {{ const all = [...document.querySelectorAll('a, button')];
                const it = all.find(it => it.innerText == {label});
                if (!it) return null;
                it.scrollIntoView({{ behavior: 'instant', block: 'center' }});
                const box = it.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2] }})()"
        ));
        assert!(center.is_array(), "no {label}: {}", self.text());
        self.leave(|| {
            for kind in ["mousePressed", "mouseReleased"] {
                let params = json!({ "type": kind, "x": center[0], "y": center[1],
                    "button": "left", "clickCount": 1 });
                self.call("Input.dispatchMouseEvent", params);
            }
        });
    }

    /// Types into the input field with this id.
    pub(crate) fn enter(&self, id: &str, text: &str) {
        self.evaluate(&format!("document.getElementById('{id}').focus()"));
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Returns the names of the buttons as a screen reader announces them, sorted.
    pub(crate) fn announced_buttons(&self) -> Vec<String> {
        let mut tree = self.call("Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].take();
        let nodes = nodes.as_array().unwrap().iter();
        let buttons = nodes.filter(|node| node["role"]["value"] == "button");
        let names = buttons.map(|node| node["name"]["value"].as_str().unwrap().to_owned());
        let mut names = names.collect::<Vec<_>>();
        names.sort_unstable();
        names
    }

    /// Returns the visitor's only cookie, with its attributes.
    pub(crate) fn cookie(&self) -> Option<Value> {
        let mut cookies = self.cookies("Storage.getCookies", json!({}))["cookies"].take();
        let cookies = cookies.as_array_mut().unwrap();
        assert!(cookies.len() <= 1, "{} cookies", cookies.len());
        cookies.pop()
    }

    /// Restores a cookie that this visitor had before.
    pub(crate) fn put_cookie(&self, cookie: &Value) {
        let cookie = json!({ "name": cookie["name"], "value": cookie["value"],
            "domain": cookie["domain"], "path": cookie["path"] });
        self.cookies("Storage.setCookies", json!({ "cookies": [cookie] }));
    }

    fn cookies(&self, method: &str, mut params: Value) -> Value {
        params["browserContextId"] = self.context.clone();
        self.browser.call(&Value::Null, method, params).unwrap()
    }

    /// Returns the cookies that scripts of the page can read.
    pub(crate) fn cookies_in_scripts(&self) -> Value {
        self.evaluate("document.cookie")
    }

    /// Saves screenshots in the directory `SCREENSHOTS` if that is set: light and dark, on a desktop and on a
    /// phone.
    pub(crate) fn screenshot(&self, name: &str) {
        let Some(directory) = env::var_os("SCREENSHOTS") else {
            return;
        };
        for (width, height) in [(1280, 800), (360, 740)] {
            let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1,
                "mobile": width < 500 });
            self.call("Emulation.setDeviceMetricsOverride", size);
            for scheme in ["light", "dark"] {
                self.prefer(scheme);
                let picture = self.call("Page.captureScreenshot", json!({ "format": "png" }));
                let picture = STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
                let file = format!("{name}-{width}-{scheme}.png");
                fs::write(PathBuf::from(&directory).join(file), picture).unwrap();
            }
        }
    }
}
