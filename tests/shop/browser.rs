//! Chromium without a window, told what to do through a pair of pipes (the `DevTools` protocol).

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) struct Browser {
    process: Child,
    commands: File,
    answers: BufReader<File>,
    last: u64,
    _directory: TempDir,
}

/// A tab, by its session.
#[derive(Clone)]
pub(crate) struct Tab(String);

impl Browser {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [commands, answers] = ["commands", "answers"].map(|name| {
            let path = directory.path().join(name);
            let made = Command::new("mkfifo").arg(&path).status().unwrap();
            assert!(made.success());
            path
        });
        // It reads from descriptor 3 and writes to 4.
        let script = "exec chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage \
                      --no-first-run --hide-scrollbars --remote-debugging-pipe \
                      --user-data-dir=\"$0/profile\" 3<\"$0/commands\" 4>\"$0/answers\"";
        let process = Command::new("sh")
            .args(["-c", script])
            .arg(directory.path())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        // In the shell's order: each waits for its other end.
        let commands = File::options().write(true).open(commands).unwrap();
        let answers = BufReader::new(File::open(answers).unwrap());
        Self {
            process,
            commands,
            answers,
            last: 0,
            _directory: directory,
        }
    }

    fn call(&mut self, session: Option<&Tab>, method: &str, params: impl Into<Value>) -> Value {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": params.into() });
        if let Some(Tab(session)) = session {
            message["sessionId"] = json!(session);
        }
        self.commands
            .write_all(format!("{message}\0").as_bytes())
            .unwrap();
        loop {
            let mut answer = Vec::new();
            self.answers.read_until(0, &mut answer).unwrap();
            assert_eq!(
                answer.pop(),
                Some(0),
                "Chromium has ended; is it installed?"
            );
            let mut answer: Value = serde_json::from_slice(&answer).unwrap();
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].take();
            }
        }
    }

    /// Another customer's browser: it shares nothing with the others.
    pub(crate) fn customer(&mut self) -> String {
        let context = self.call(None, "Target.createBrowserContext", json!({}));
        context["browserContextId"].as_str().unwrap().to_owned()
    }

    pub(crate) fn open(&mut self, customer: &str, url: &str) -> Tab {
        let target = json!({ "url": url, "browserContextId": customer });
        let target = self.call(None, "Target.createTarget", target);
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.call(None, "Target.attachToTarget", attach);
        let tab = Tab(session["sessionId"].as_str().unwrap().to_owned());
        self.until(&tab, "document.querySelectorAll('#goods li').length === 3");
        tab
    }

    /// What a script comes to in a tab; of a promise, what it is kept with.
    pub(crate) fn run(&mut self, tab: &Tab, script: &str) -> Value {
        let params = json!({ "expression": script, "returnByValue": true, "awaitPromise": true });
        let mut result = self.call(Some(tab), "Runtime.evaluate", params);
        assert!(result["exceptionDetails"].is_null(), "{script}: {result}");
        result["result"]["value"].take()
    }

    /// Waits until a script comes to `true`.
    pub(crate) fn until(&mut self, tab: &Tab, script: &str) {
        for _ in 0..600 {
            let params = json!({ "expression": script, "returnByValue": true });
            // While a page is loaded, there may be nothing to ask.
            let result = self.call(Some(tab), "Runtime.evaluate", params);
            if result["result"]["value"] == true {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        let page = self.run(tab, "document.body.innerText");
        panic!("never: {script}\n{page}");
    }

    pub(crate) fn reload(&mut self, tab: &Tab) {
        self.call(Some(tab), "Page.reload", json!({}));
    }

    /// A real click, with the mouse, `count` times in a row.
    pub(crate) fn click(&mut self, tab: &Tab, selector: &str, count: u32) {
        let place = format!(
            "(() => {{ const it = document.querySelector({selector:?}); it.scrollIntoView(); \
             const box = it.getBoundingClientRect(); \
             return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        );
        let place = self.run(tab, &place);
        for nth in 1..=count {
            for kind in ["mousePressed", "mouseReleased"] {
                let event = json!({
                    "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": nth,
                });
                self.call(Some(tab), "Input.dispatchMouseEvent", event);
            }
        }
    }

    /// A picture of a tab as a screen of this width shows it, by day or by night.
    pub(crate) fn picture(&mut self, tab: &Tab, width: u32, is_dark: bool) -> Vec<u8> {
        let scheme = if is_dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call(Some(tab), "Emulation.setEmulatedMedia", media);
        let screen = |height: u64| json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call(Some(tab), "Emulation.setDeviceMetricsOverride", screen(400));
        let height = self.run(tab, "document.documentElement.scrollHeight");
        let screen = screen(height.as_u64().unwrap());
        self.call(Some(tab), "Emulation.setDeviceMetricsOverride", screen);
        let picture = self.call(Some(tab), "Page.captureScreenshot", json!({}));
        from_base64(picture["data"].as_str().unwrap())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.call(None, "Browser.close", json!({}));
        let _ = self.process.wait();
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for digit in text.bytes().filter(|digit| *digit != b'=') {
        let value = DIGITS.iter().position(|it| *it == digit).unwrap();
        bits = bits << 6 | u32::try_from(value).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count).unwrap());
            bits &= (1 << count) - 1;
        }
    }
    bytes
}
