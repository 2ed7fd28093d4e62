"""Installs what requirements.txt pins into target/clients/python, once, and prints that folder. Another such file, like
fuzz-requirements.txt, may be named; it has a folder of its own, like target/clients/python-fuzz.

    PYTHONPATH="$(python3 tests/clients/install.py)" python3 tests/clients/smtp_server.py PORT_FILE SPOOL_DIR

Safe to run by several processes at once: the first one installs, the others wait for it.
"""

import fcntl
import hashlib
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent / "target" / "clients"


def main():
    requirements = HERE / (sys.argv[1] if len(sys.argv) > 1 else "requirements.txt")
    name = "-".join(["python", *requirements.stem.split("-")[:-1]])
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    folder, stamp = ROOT / name, ROOT / f"{name}.installed"
    ROOT.mkdir(parents=True, exist_ok=True)
    with open(ROOT / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (stamp.exists() and stamp.read_text() == wanted):
            stamp.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            install(requirements, folder)
            stamp.write_text(wanted)
    print(folder)


def install(requirements, folder):
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input",
               "--require-hashes", "--target", str(folder), "--requirement", str(requirements)]
    done = subprocess.run(command, stdout=sys.stderr)
    if done.returncode != 0:
        sys.exit(f"the Python packages of tests/clients/{requirements.name} could not be installed: python3 needs pip "
                 "(Debian: apt-get install python3-pip) and a package index")


if __name__ == "__main__":
    main()
