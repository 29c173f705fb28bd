"""Pulls and pushes over TLS, with nginx and Debian's docker-registry, and on a disk that is full. Each part is skipped where
its program is not installed, or mounts of one's own are not allowed."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import unittest

import test_cli as cli
import test_pull
from registry_stub import digest

INSIDE = os.environ.get("PANTRY_TEST_OWN_MOUNTS") == "1"


def setUpModule():
    test_pull.setUpModule()


def tearDownModule():
    test_pull.tearDownModule()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Tls(test_pull.Pull):
    """A certificate of a CA of one's own, for a server on all addresses: names of localhost would use http."""

    def setUp(self):
        super().setUp()
        self.folder = os.path.join(self.home, "server")
        os.mkdir(self.folder)
        self.home = os.path.join(self.home, "store")
        self.env["PANTRY_HOME"] = self.home
        for name in ("PANTRY_CA_FILE", "SSL_CERT_FILE"):
            self.env.pop(name, None)
        if not shutil.which("openssl"):
            self.skipTest("openssl is not installed")
        self.ca = self.path("ca.pem")
        self.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=CA",
            "-keyout",
            self.path("ca.key"),
            "-out",
            self.ca,
        )
        self.openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server",
            "-keyout",
            self.path("server.key"),
            "-out",
            self.path("server.csr"),
        )
        with open(self.path("names"), "w") as file:
            file.write("subjectAltName=DNS:localhost,IP:127.0.0.1,IP:0.0.0.0\n")
        self.openssl(
            "x509 -req -days 2 -set_serial 1",
            "-in",
            self.path("server.csr"),
            "-CA",
            self.ca,
            "-CAkey",
            self.path("ca.key"),
            "-extfile",
            self.path("names"),
            "-out",
            self.path("server.pem"),
        )
        self.port = free_port()

    def path(self, name):
        return os.path.join(self.folder, name)

    def openssl(self, options, *more):
        subprocess.run(["openssl", *options.split(), *more], check=True, capture_output=True)

    def serve(self, *command):
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder)
        self.addCleanup(lambda: (server.terminate(), server.wait()))
        for _ in range(400):
            try:
                return socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                self.assertIsNone(server.poll(), "the server ended")
                time.sleep(0.05)
        self.fail("the server did not start")

    def at(self, model):
        return f"0.0.0.0:{self.port}/{model}"

    def trusting(self, **more):
        return {**self.env, "PANTRY_CA_FILE": self.ca, **more}


class Nginx(Tls):
    """Static files with ranges, laid out as a registry."""

    def setUp(self):
        super().setUp()
        program = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if not program:
            self.skipTest("nginx is not installed")
        for name, manifest in self.registry.manifests.items():
            space, tag = name.split(":")
            for kind in ("manifests", "blobs"):
                os.makedirs(self.path(f"www/v2/{space}/{kind}"), exist_ok=True)
            with open(self.path(f"www/v2/{space}/manifests/{tag}"), "wb") as file:
                file.write(manifest)
            for layer in [*json.loads(manifest)["layers"], json.loads(manifest)["config"]]:
                with open(self.path(f"www/v2/{space}/blobs/{layer['digest']}"), "wb") as file:
                    file.write(self.registry.blobs[layer["digest"]])
        with open(self.path("www/plain.gguf"), "wb") as file:
            file.write(test_pull.TINY)
        os.mkdir(self.path("tmp"))
        with open(self.path("nginx.conf"), "w") as file:
            file.write(f"""
                daemon off; master_process off; pid {self.path("pid")}; error_log {self.path("error.log")};
                events {{}}
                http {{
                    log_format rows '"$request" $status $body_bytes_sent $msec $request_time';
                    access_log {self.path("access.log")} rows;
                    client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp;
                    scgi_temp_path tmp;
                    server {{
                        listen 0.0.0.0:{self.port} ssl;
                        ssl_certificate {self.path("server.pem")}; ssl_certificate_key {self.path("server.key")};
                        root {self.path("www")};
                        location / {{ limit_rate 6m; }}
                    }}
                }}""")
        self.serve(program, "-p", self.folder, "-c", self.path("nginx.conf"))

    def log(self, since):
        """(path, status, bytes) of the requests that began later. nginx notes them when they end."""
        with open(self.path("access.log")) as file:
            rows = re.findall(r'"GET (\S+) HTTP/1.1" (\d+) (\d+) (\S+) (\S+)', file.read())
        return [row[:3] for row in rows if float(row[3]) - float(row[4]) > since]

    def test_only_what_is_trusted(self):
        err = self.bad(1, "pull", self.at("library/toy:1"), env=self.env)
        self.assertIn("certificate", err)
        for wrong in (self.path("server.key"), "/nonexistent"):
            self.bad(1, "pull", self.at("library/toy:1"), env={**self.env, "PANTRY_CA_FILE": wrong})
        self.bad(
            1, "pull", self.at("library/toy:1"), env=self.trusting(PANTRY_CA_FILE="/nonexistent", SSL_CERT_FILE=self.ca)
        )
        self.assertEqual(self.blobs(), [])
        self.good("pull", self.at("library/toy:1"), env=self.trusting())
        self.good("rm", self.at("library/toy:1"), env=self.env)
        self.good("pull", self.at("library/toy:1"), env={**self.env, "SSL_CERT_FILE": self.ca})
        self.assertEqual(self.good("check", self.at("library/toy:1"), env=self.env), self.at("library/toy:1: ok\n"))

    def test_ranges_and_resuming(self):
        child = subprocess.Popen(
            [cli.PANTRY, "pull", self.at("you/large:1")],
            env=self.trusting(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        stem = os.path.join(self.home, "models", "blobs", digest(test_pull.LARGE).replace(":", "-") + "-partial-state")
        end = time.monotonic() + 120
        noted = 0
        while noted < 6 * test_pull.MIB:
            self.assertLess(time.monotonic(), end)
            self.assertIsNone(child.poll())
            if os.path.exists(stem):
                with open(stem) as file:
                    noted = sum(int(n) for n in re.findall(r"^\d{20}$", file.read(), re.M)[2:])
        child.send_signal(signal.SIGKILL)
        child.wait()
        with open(stem) as file:
            noted = sum(int(n) for n in re.findall(r"^\d{20}$", file.read(), re.M)[2:])
        killed = time.time()
        self.good("pull", self.at("you/large:1"), env=self.trusting())
        self.assertEqual([name for name in self.blobs() if self.is_wrong(name)], [])
        self.assertIn(digest(test_pull.LARGE).replace(":", "-"), self.blobs())
        rows = [row for row in self.log(killed) if digest(test_pull.LARGE) in row[0]]
        self.assertEqual({status for _, status, _ in rows}, {"206"})
        self.assertEqual(sum(int(n) for _, _, n in rows if n), len(test_pull.LARGE) - noted)

    def test_a_url(self):
        url = f"https://localhost:{self.port}/plain.gguf"
        self.assertIn("certificate", self.bad(1, "pull", url, env=self.env))
        self.good("pull", url, env=self.trusting())
        self.assertEqual(self.good("check", "plain", env=self.env), "plain: ok\n")


class DockerRegistry(Tls):
    def test_there_and_back(self):
        program = shutil.which("docker-registry")
        if not program:
            self.skipTest("docker-registry is not installed")
        with open(self.path("registry.yml"), "w") as file:
            file.write(
                "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: "
                f"{self.path('data')}}}}}\nhttp: {{addr: '0.0.0.0:{self.port}', "
                f"tls: {{certificate: {self.path('server.pem')}, key: {self.path('server.key')}}}}}\n"
            )
        self.serve(program, "serve", self.path("registry.yml"))
        self.good("pull", self.name("you/large:1"), env=self.env)
        there = self.at("you/large:1")
        self.assertIn("certificate", self.bad(1, "push", self.name("you/large:1"), there, env=self.env))
        self.good("push", self.name("you/large:1"), there, env=self.trusting())
        other = self.trusting(PANTRY_HOME=os.path.join(self.home, "other"))
        self.good("pull", there, env=other)
        self.assertEqual(self.good("check", there, env=other), f"{there}: ok\n")


class FullDisk(test_pull.Pull):
    """On a tmpfs in a mount namespace of one's own."""

    def setUp(self):
        super().setUp()
        if not INSIDE:
            self.skipTest("runs in test_with_own_mounts")
        self.home = os.path.join(self.home, "disk")
        self.env["PANTRY_HOME"] = self.home
        os.mkdir(self.home)

    def mount(self, size):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", self.home], check=True)
        self.addCleanup(lambda: subprocess.run(["umount", "-l", self.home], check=True))

    def fill(self):
        with open(os.path.join(self.home, "ballast"), "wb", buffering=0) as file:
            try:
                while file.write(bytes(1 << 12)):
                    pass
            except OSError:
                pass

    def test_too_small(self):
        self.mount(20)
        self.assertRegex(self.refused("you/large:1"), r"needs 24 MB of free disk space and has \d+ MB")
        self.assertEqual(self.blobs(), [])
        subprocess.run(["mount", "-o", "remount,size=40m", self.home], check=True)
        self.pull("you/large:1")
        self.assert_whole("you/large:1")

    def test_full_meanwhile(self):
        """The large blob's space is reserved; that of the next one is not."""
        self.mount(40)
        license = bytes(50000)
        self.registry.add("you/large:1", test_pull.TINY, [("projector", test_pull.LARGE), ("license", license)])
        filled = []

        def fill(path):
            if digest(test_pull.LARGE) in path and not filled:
                filled.append(path)
                self.fill()

        self.registry.hook = fill
        err = self.refused("you/large:1")
        self.assertRegex(err, "No space left|free disk space")
        self.assertFalse(os.path.exists(os.path.join(self.home, "models", "manifests")))
        self.assertIn(digest(test_pull.LARGE).replace(":", "-"), self.blobs())
        self.registry.hook = lambda path: None
        os.unlink(os.path.join(self.home, "ballast"))
        self.registry.sent = 0
        self.pull("you/large:1")
        self.assert_whole("you/large:1")
        self.assertEqual(self.registry.sent, len(license))
        self.assertEqual([name for name in self.blobs() if "partial" in name], [])

    def test_full_from_the_start(self):
        self.mount(40)
        self.fill()
        self.assertRegex(self.refused("library/toy:1"), "No space left|free disk space")
        os.unlink(os.path.join(self.home, "ballast"))
        self.pull("library/toy:1")
        self.assert_whole("library/toy:1")


class OwnMounts(unittest.TestCase):
    @unittest.skipIf(INSIDE, "this is inside")
    def test_with_own_mounts(self):
        """Runs the tests above as root of a user namespace, where that is allowed."""
        enter = ["unshare", "--user", "--map-root-user", "--mount"]
        probe = [*enter, "sh", "-c", "mount -t tmpfs tmpfs /mnt"]
        if not shutil.which("unshare") or subprocess.run(probe, capture_output=True).returncode:
            self.skipTest("mounts of one's own are not allowed")
        done = subprocess.run(
            [*enter, sys.executable, "-m", "unittest", "test_servers.FullDisk"],
            env={**os.environ, "PANTRY_TEST_OWN_MOUNTS": "1", "PANTRY": cli.PANTRY},
            cwd=cli.HERE,
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotIn("skipped", done.stderr)


if __name__ == "__main__":
    unittest.main()
