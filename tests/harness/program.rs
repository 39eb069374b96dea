//! The two programs as their users run them: a process, its lines, its exit code.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::{eventually, soon};

/// A folder of its own for what a program keeps; removed on drop.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A new empty folder.
    pub fn new() -> Self {
        let name = format!("ngrnotok-tests-{}", uuid::Uuid::new_v4());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a folder can be made");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file in it, for its owner alone.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file can be written");
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, private).expect("it is ours");
        path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A program that is about to run, with nothing of ours in its environment.
#[derive(Debug)]
pub struct Program(Command);

impl Program {
    /// The program in `file`, which believes to be called `name`; it keeps its state in `scratch`, and
    /// its configuration in the folder `config` there.
    pub fn new(file: &str, name: &str, scratch: &Scratch) -> Self {
        let mut command = Command::new(file);
        for (variable, _) in std::env::vars_os() {
            let ours = variable.to_str().is_some_and(|name| {
                name.starts_with("NGRNOTOK") || name.to_ascii_lowercase().ends_with("_proxy")
            });
            if ours || variable == "STATE_DIRECTORY" {
                command.env_remove(variable);
            }
        }
        command
            .arg0(name)
            .env("XDG_STATE_HOME", scratch.path())
            .env("XDG_CONFIG_HOME", scratch.path().join("config"))
            .env("NO_COLOR", "1")
            .env("TZ", "UTC")
            // The tests that look at the web interface say where.
            .env("NGRNOTOK_WEB", "off")
            .env_remove("COLUMNS")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        Self(command)
    }

    /// Takes its home away, and lets it work in `folder`.
    pub fn homeless(mut self, folder: &Path) -> Self {
        for variable in [
            "HOME",
            "XDG_STATE_HOME",
            "XDG_CONFIG_HOME",
            "LOCALAPPDATA",
            "APPDATA",
        ] {
            self.0.env_remove(variable);
        }
        self.0.current_dir(folder);
        self
    }

    /// Adds arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.0.args(args);
        self
    }

    /// Adds a variable to its environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.0.env(name, value);
        self
    }

    /// Gives it a file to read as its standard input.
    pub fn input(mut self, file: &Path) -> Self {
        let file = std::fs::File::open(file).expect("a file that is there");
        self.0.stdin(file);
        self
    }

    /// Hands it a socket that listens, as systemd does: as descriptor 3, by the word of `LISTEN_FDS`.
    ///
    /// A shell moves the socket there, from where it comes in as standard input, and becomes the program.
    pub fn on_socket(self, listener: &std::net::TcpListener) -> Self {
        let socket = listener.try_clone().expect("a descriptor can be had");
        let program = self.0.as_std();
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null",
            ])
            .arg(program.get_program())
            .args(program.get_args())
            .stdin(std::os::fd::OwnedFd::from(socket))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        Self(command)
    }

    /// Runs it with outputs of the test's choice.
    pub fn unheard(mut self, stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Unheard {
        let child = self.0.stdout(stdout).stderr(stderr).spawn();
        Unheard(child.expect("the program can be started"))
    }

    /// Runs it to its end.
    pub async fn output(mut self) -> Ended {
        let output = soon("the end of a program", self.0.output()).await;
        Ended::new(&output.expect("the program can be started"))
    }

    /// Starts it with both its outputs going into files of `folder`, so that nothing is missed.
    pub fn overheard(mut self, folder: &Path, name: &str) -> Overheard {
        let into = |ending: &str| folder.join(format!("{name}.{ending}"));
        let (stdout, stderr) = (into("stdout"), into("stderr"));
        let open = |path: &Path| std::fs::File::create(path).expect("a file can be made");
        self.0.stdout(open(&stdout)).stderr(open(&stderr));
        let child = self.0.spawn().expect("the program can be started");
        Overheard { child, stdout }
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        let mut child = self.0.spawn().expect("the program can be started");
        let stdout = child.stdout.take().expect("it is piped");
        let stderr = child.stderr.take().expect("it is piped");
        Running {
            child,
            stdout: BufReader::new(stdout).lines(),
            stderr: BufReader::new(stderr).lines(),
        }
    }
}

/// A program that runs; killed on drop.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    stderr: Lines<BufReader<ChildStderr>>,
}

impl Running {
    /// The next line of its standard output.
    pub async fn line(&mut self) -> String {
        match soon("a line of a program", self.stdout.next_line()).await {
            Ok(Some(line)) => line,
            _ => panic!("the program has ended: {:?}", self.complaints().await),
        }
    }

    /// Reads lines up to one that starts with `word`, and returns what follows the word there.
    pub async fn line_of(&mut self, word: &str) -> String {
        loop {
            if let Some(rest) = self.line().await.strip_prefix(word) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Sends a signal, `INT` or `TERM`.
    pub async fn signal(&self, signal: &str) {
        send(signal, &self.child).await;
    }

    /// Closes the pipe that its lines go into, and waits for its end.
    pub async fn ended_unheard(mut self) -> Option<i32> {
        drop(self.stdout);
        let status = soon("the end of a program", self.child.wait()).await;
        status.expect("it is our child").code()
    }

    /// Waits for its end: exit code and what it still said on standard output.
    pub async fn ended(mut self) -> (Option<i32>, Vec<String>) {
        let mut rest = Vec::new();
        let end = async {
            while let Ok(Some(line)) = self.stdout.next_line().await {
                rest.push(line);
            }
            self.child.wait().await
        };
        let status = soon("the end of a program", end).await;
        (status.expect("it is our child").code(), rest)
    }

    /// Waits for its end: exit code, the rest of its standard output, and all that it said on standard
    /// error.
    pub async fn ended_with_complaints(mut self) -> Ended {
        let stderr = soon("the end of a program", self.complaints()).await;
        let (code, stdout) = self.ended().await;
        Ended {
            code,
            stdout: stdout.join("\n"),
            stderr: stderr.join("\n"),
        }
    }

    /// The next line of its standard error that has this in it.
    pub async fn complaint_with(&mut self, words: &str) -> String {
        loop {
            let line = soon(words, self.stderr.next_line()).await;
            let line = line.expect("text").expect("the program goes on");
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Kills it where it stands; says whether it still ran.
    pub fn kill(&mut self) -> bool {
        let runs = self.child.try_wait().expect("it is our child").is_none();
        runs && self.child.start_kill().is_ok()
    }

    async fn complaints(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Ok(Some(line)) = self.stderr.next_line().await {
            lines.push(line);
        }
        lines
    }
}

async fn send(signal: &str, to: &Child) {
    let pid = to.id().expect("it runs").to_string();
    let kill = Command::new("kill").args(["-s", signal, &pid]).status();
    assert!(kill.await.expect("there is a kill").success());
}

/// A program that runs and is overheard; killed on drop.
#[derive(Debug)]
pub struct Overheard {
    child: Child,
    stdout: PathBuf,
}

impl Overheard {
    /// Every whole line of its standard output so far.
    pub fn lines(&self) -> Vec<String> {
        let said = std::fs::read_to_string(&self.stdout).expect("it was made");
        let lines = said.split_inclusive('\n');
        lines
            .filter_map(|line| line.strip_suffix('\n'))
            .map(ToOwned::to_owned)
            .collect()
    }

    /// Waits for a line of its standard output that starts with `word`, and returns what follows it.
    pub async fn line_of(&self, word: &str) -> String {
        let mut found = String::new();
        eventually(word, async || {
            let lines = self.lines();
            let rest = lines.iter().find_map(|line| line.strip_prefix(word));
            found = rest.unwrap_or_default().trim().to_owned();
            rest.is_some()
        })
        .await;
        found
    }

    /// Sends a signal, `INT` or `TERM`.
    pub async fn signal(&self, signal: &str) {
        send(signal, &self.child).await;
    }

    /// Asks it to stop and waits for its end.
    pub async fn stop(self) {
        self.signal("TERM").await;
        self.ended().await;
    }

    /// Kills it where it stands.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it is our child");
    }

    /// Waits for its end; tells the exit code.
    pub async fn ended(mut self) -> Option<i32> {
        let end = soon("the end of a program", self.child.wait()).await;
        end.expect("it is our child").code()
    }
}

/// A program that runs and whose outputs go somewhere else; killed on drop.
#[derive(Debug)]
pub struct Unheard(Child);

impl Unheard {
    /// Sends a signal, `INT` or `TERM`.
    pub async fn signal(&self, signal: &str) {
        send(signal, &self.0).await;
    }

    /// Waits for its end; tells the exit code.
    pub async fn ended(mut self) -> Option<i32> {
        let end = soon("the end of a program", self.0.wait()).await;
        end.expect("it is our child").code()
    }
}

/// What a program left behind.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it said on standard output.
    pub stdout: String,
    /// What it said on standard error.
    pub stderr: String,
}

impl Ended {
    fn new(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// All of it, for a snapshot.
    pub fn shown(&self) -> String {
        let code = self
            .code
            .map_or_else(|| "none".into(), |code| code.to_string());
        let mut shown = format!("exit code: {code}\n");
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                shown.push_str(&format!("-- {name} --\n{text}"));
            }
        }
        shown
    }
}
