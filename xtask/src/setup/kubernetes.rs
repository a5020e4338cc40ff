//! The servers of Kubernetes, for `cargo xtask cluster`: built once from the sources that Debian keeps, with Debian's Go.
//!
//! No package of Debian's has them, and only this version's source is there whole. API server, controller manager, scheduler and
//! kubelet become one program (`tests/cluster/machine/servers.go`) that goes by the name it is called by: what they share is
//! linked once. Left out is what clouds and Docker need: by tags that Kubernetes has for that, and [`CLOUDS`].

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::arch::Arch;
use crate::vm::debian;
use crate::{cmd, paths};

const VERSION: &str = "v1.20.2";

/// The suite whose source package it is. Later ones have the clients' source alone.
const SUITE: &str = "bookworm";

/// The newest that compiles it unchanged.
const GO: &str = "/usr/lib/go-1.19/bin/go";

const SERVERS: [&str; 4] =
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"];

/// Where packages for clouds are taken in besides, for what they do when they are loaded. Without them a kubelet does not ask at its
/// start, and in vain, in which cloud it is.
const CLOUDS: [(&str, &str); 4] = [
    ("pkg/kubelet/cadvisor/cadvisor_linux.go", "_ \"github.com/google/cadvisor/utils/cloudinfo/"),
    ("pkg/kubeapiserver/authenticator/config.go", "_ \"k8s.io/client-go/plugin/pkg/client/auth\""),
    ("cmd/kubelet/app/plugins.go", "_ \"k8s.io/kubernetes/pkg/credentialprovider/"),
    ("cmd/kubelet/app/options/globalflags.go", "_ \"k8s.io/kubernetes/pkg/credentialprovider/"),
];

/// Where a package of Kubernetes' own repositories is found in the tree.
const VENDOR: &str = "k8s.io/kubernetes/vendor/k8s.io";

/// The folder with the servers and with `pause.tar`, the image that holds a pod's namespaces.
pub(crate) fn ensure() -> Result<PathBuf> {
    let tools = paths::tools()?;
    fs::create_dir_all(&tools).with_context(|| format!("cannot make {}", tools.display()))?;
    // Two who build at once would build twice.
    let lock = File::create(tools.join("kubernetes.lock")).context("cannot make a lock")?;
    lock.lock().context("cannot take a lock")?;
    let done = folder(&tools);
    if is_it(&done) {
        return Ok(done);
    }
    let part = tools.join(format!("kubernetes-{VERSION}.part"));
    for old in [&done, &part] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
    }
    let work = part.join("work");
    fs::create_dir_all(&work)?;
    let tree = source(&work)?;
    let build = Build { work: &work, tree: &tree };
    build.openapi()?;
    build.servers(&part.join("servers"))?;
    for server in SERVERS {
        symlink("servers", part.join(server))?;
    }
    pause(&work, &tree, &part.join("pause.tar"))?;
    fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
    fs::rename(&part, &done).with_context(|| format!("cannot make {}", done.display()))?;
    if !is_it(&done) {
        bail!("{} was built and is not Kubernetes {VERSION}", done.display());
    }
    Ok(done)
}

fn is_it(dir: &Path) -> bool {
    dir.join("pause.tar").exists()
        && cmd::output(Command::new(dir.join("kubelet")).arg("--version"))
            .is_ok_and(|said| said.trim() == format!("Kubernetes {VERSION}"))
}

/// The packages that [`ensure`] needs and this machine lacks; none where the servers are there.
pub(crate) fn missing() -> Result<Vec<&'static str>> {
    let tools = paths::tools()?;
    if is_it(&folder(&tools)) {
        return Ok(Vec::new());
    }
    let mut missing = Vec::new();
    if !Path::new(GO).exists() {
        missing.push("golang-1.19-go");
    }
    if paths::on_path("buildah").is_none() {
        missing.push("buildah");
    }
    Ok(missing)
}

fn folder(tools: &Path) -> PathBuf {
    tools.join(format!("kubernetes-{VERSION}"))
}

/// Downloads and unpacks the source; apt holds it against the archive's signature.
fn source(work: &Path) -> Result<PathBuf> {
    let archive =
        debian::Apt::of(&work.join("apt"), "deb-src", [SUITE].into_iter(), Arch::here()?)?;
    let mut get = archive.command("apt-get");
    get.args(["source", "--download-only", "kubernetes"]).current_dir(work);
    cmd::quiet(&mut get, "downloading the source of Kubernetes")?;
    let entries = fs::read_dir(work)?.flatten();
    let tarball = entries.map(|entry| entry.path()).find(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".orig.tar.gz"))
    });
    let tarball =
        tarball.context("Debian's source of Kubernetes has no tarball of the original")?;
    // Debian's patches are of kubectl alone.
    let tree = work.join("go/src/k8s.io/kubernetes");
    fs::create_dir_all(&tree)?;
    let mut unpack = Command::new("tar");
    unpack.args(["--extract", "--strip-components=1", "--file"]).arg(tarball).arg("--directory");
    cmd::quiet(unpack.arg(&tree), "unpacking the source of Kubernetes")?;
    Ok(tree)
}

#[derive(Debug)]
struct Build<'a> {
    work: &'a Path,
    tree: &'a Path,
}

impl Build<'_> {
    /// The one file that is generated and not in the source: what the API server says of its types, by which clients check what
    /// they send. The generator names what breaks the API's own rules, too, and that has to be what is known.
    fn openapi(&self) -> Result<()> {
        let generator = self.work.join("openapi-gen");
        let mut build = self.go("build");
        build.arg("-o").arg(&generator).arg("./vendor/k8s.io/kube-openapi/cmd/openapi-gen");
        cmd::quiet(&mut build, "building the generator of the API's description")?;
        let mut find = Command::new("sh");
        find.arg("-c").arg(
            "find -L pkg cmd plugin vendor/k8s.io -name '*.go' -not -path '*/testdata/*' \
             | xargs grep --files-with-matches '^// *+k8s:openapi-gen=' | xargs -n 1 dirname | LC_ALL=C sort -u",
        );
        let packages = cmd::output(find.current_dir(self.tree))?;
        let others = ["vendor/k8s.io/code-generator", "vendor/k8s.io/sample-apiserver"];
        let packages: Vec<String> = packages
            .lines()
            .filter(|package| !others.iter().any(|other| package.starts_with(other)))
            .map(|package| format!("k8s.io/kubernetes/{package}"))
            .collect();
        let report = self.work.join("violations");
        let mut generate = self.environment("nice");
        generate.arg(generator).args(["--logtostderr", "--input-dirs", &packages.join(",")]);
        generate.args(["--output-package", "k8s.io/kubernetes/pkg/generated/openapi"]);
        generate.args(["--output-file-base", "zz_generated.openapi", "--go-header-file"]);
        generate.arg("vendor/k8s.io/code-generator/hack/boilerplate.go.txt");
        generate.arg("--report-filename").arg(&report);
        cmd::quiet(&mut generate, "generating the API's description")?;
        let known = self.tree.join("api/api-rules/violation_exceptions.list");
        if fs::read(&report)? != fs::read(known)? {
            bail!("the API's description is not the one that belongs to Kubernetes {VERSION}");
        }
        Ok(())
    }

    fn servers(&self, to: &Path) -> Result<()> {
        for (file, import) in CLOUDS {
            let file = self.tree.join(file);
            let source = fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            let is_kept = |line: &&str| !line.trim_start().starts_with(import);
            let kept: String = source.split_inclusive('\n').filter(is_kept).collect();
            fs::write(&file, kept).with_context(|| format!("cannot write {}", file.display()))?;
        }
        let own = self.tree.join("cmd/servers");
        fs::create_dir_all(&own)?;
        let main = paths::root().join("tests/cluster/machine/servers.go");
        fs::copy(main, own.join("main.go")).context("cannot copy the servers' main function")?;
        let named = ["client-go/pkg/version", "component-base/version"].map(|package| {
            let values =
                [("Version", VERSION), ("Major", "1"), ("Minor", "20"), ("TreeState", "archive")];
            values.map(|(name, value)| format!("-X {VENDOR}/{package}.git{name}={value}")).join(" ")
        });
        let link = format!("-s -w {}", named.join(" "));
        let mut build = self.go("build");
        build.args(["-tags", "providerless,dockerless", "-ldflags", &link]);
        // No debugger will look at it. Go's own library stays as Debian compiled it.
        build.args(["-gcflags", "k8s.io/kubernetes/...=-dwarf=false"]);
        cmd::quiet(
            build.arg("-o").arg(to).arg("./cmd/servers"),
            "building the servers of Kubernetes",
        )
    }

    /// Go, at the end of the queue for processors: cargo may be at work meanwhile.
    fn go(&self, task: &str) -> Command {
        let mut go = self.environment("nice");
        go.args([GO, task]);
        go
    }

    fn environment(&self, program: &str) -> Command {
        let mut cmd = Command::new(program);
        cmd.current_dir(self.tree).env("HOME", self.work).env("GOCACHE", self.work.join("cache"));
        // As in its time: packages by their place in the tree, and none from elsewhere.
        cmd.env("GOPATH", self.work.join("go")).env("GO111MODULE", "off").env("GOPROXY", "off");
        // Compilers live for a second each: collecting garbage costs them more than it saves.
        cmd.env("CGO_ENABLED", "0").env("GOFLAGS", "").env("GOGC", "400");
        // The generator looks for the sources of Go's library.
        let path = std::env::var("PATH").unwrap_or_default();
        let bin = Path::new(GO).parent().unwrap_or(Path::new("/")).display().to_string();
        cmd.env("PATH", format!("{bin}:{path}"));
        cmd
    }
}

/// Kubernetes' own `pause` in an image from scratch.
fn pause(work: &Path, tree: &Path, archive: &Path) -> Result<()> {
    let context = work.join("pause");
    fs::create_dir_all(&context)?;
    let mut cc = Command::new("cc");
    cc.args(["-Os", "-static", "-o"]).arg(context.join("pause"));
    cmd::output(cc.arg(tree.join("build/pause/linux/pause.c")))?;
    fs::write(
        context.join("Containerfile"),
        "FROM scratch\nCOPY pause /pause\nENTRYPOINT [\"/pause\"]\n",
    )?;
    let buildah = || {
        let mut buildah = Command::new("buildah");
        // Nothing stays in the storage of whoever runs this.
        buildah.arg("--root").arg(work.join("images")).arg("--runroot").arg(work.join("run"));
        buildah.args(["--storage-driver", "vfs"]);
        buildah
    };
    let mut build = buildah();
    build.args(["build", "--isolation", "chroot", "--tag", "localhost/pause:1"]);
    cmd::quiet(build.arg(&context), "building the image of pause")?;
    let mut push = buildah();
    push.args(["push", "localhost/pause:1"]);
    push.arg(format!("oci-archive:{}:localhost/pause:1", archive.display()));
    cmd::output(&mut push).map(|_| ())
}
