"""Kills scenarios and looks at what they leave; as a script, many times over.

    python tests/kills/killing.py --kills 50

kills each scenario at 50 of its calls that change the disk, with a power cut, and at 50 random
times, and prints a table.

    unshare -rm python tests/kills/killing.py --full-disks 25

runs each on 25 disks that are too small, of sizes from what it starts with to what it needs, makes
room, and runs it again.
"""

import argparse
import collections
import contextlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from scenarios import COMMANDS, REPLACED, SCENARIOS, content, content_of  # noqa: E402

KILLED = -9
# Pages of disk above what a scenario starts with, up to which it may be full.
SPAN = 60


class Killer:
    """Runs scenarios in folders of their own, with and without kills.

    Args:
        folder: Where the folders are made.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.server = subprocess.Popen(
            [sys.executable, HERE / "fork_server.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.temporary = self.folder / "temporary"
        self.temporary.mkdir(parents=True)
        self.prepared = self.folder / "prepared"
        self.prepared.mkdir()
        self.server.stdout.readline()
        found = self.ask("prepare", self.prepared)
        assert found["status"] == 0, found["output"]
        self.references = {}
        self.filled = self.killed = 0

    def close(self):
        """Ends the server."""
        self.server.stdin.close()
        self.server.wait()

    def ask(self, scenario, folder, **request):
        """Runs a scenario in a folder; returns what the server answers."""
        request |= {
            "scenario": scenario,
            "folder": str(folder),
            "temporary": str(self.temporary),
        }
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())

    def begin(self, scenario):
        """A new folder with what a scenario starts from."""
        folder = self.folder / "work" / scenario
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.prepared / scenario, folder)
        return folder

    def reference(self, scenario):
        """A run without a kill: its points, its seconds, and the content of its files."""
        if scenario not in self.references:
            folder = self.begin(scenario)
            before = content(folder)
            found = self.ask(scenario, folder)
            assert found["status"] == 0, found["output"]
            assert not list(self.temporary.iterdir())
            self.references[scenario] = found | {"before": before, "content": content(folder)}
        return self.references[scenario]

    def kill(self, scenario, **kill):
        """Kills a run, runs it again, and compares; returns what is wrong, or None.

        Args:
            scenario: Its name.
            **kill: "kill_at" or "kill_after", "cuts_power", "seed".
        """
        self.reference(scenario)
        folder = self.begin(scenario)
        found = self.ask(scenario, folder, **kill)
        self.killed += found["status"] == KILLED
        # A run that is killed at a time may have ended before.
        if found["status"] not in ((KILLED,) if "kill_at" in kill else (KILLED, 0)):
            return f"it ended with {found['status']}: {found['output']}"
        wrong = self.wrong_on_disk(scenario, folder)
        if wrong:
            return wrong
        again = self.ask(scenario, folder)
        if again["status"]:
            return f"run again, it failed: {again['output']}"
        return self.wrong_at_the_end(scenario, folder)

    def fill(self, scenario, size):
        """Runs on a disk of `size` bytes, makes room, runs again; returns what is wrong, or None.

        Needs the right to mount, such as in `unshare -rm`.
        """
        self.reference(scenario)
        folder = self.folder / "work" / scenario
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        mount("-o", f"size={size}", folder)
        try:
            shutil.copytree(self.prepared / scenario, folder, dirs_exist_ok=True)
            found = self.ask(scenario, folder)
            wrong = self.wrong_on_disk(scenario, folder)
            if wrong:
                return wrong
            if found["status"] and "No space left on device" not in found["output"]:
                return f"it failed without the reason: {found['output']}"
            mount("-o", "remount,size=64m", folder)
            again = self.ask(scenario, folder)
            if again["status"]:
                return f"with room, it failed: {again['output']}"
            self.filled += bool(found["status"])
            return self.wrong_at_the_end(scenario, folder)
        finally:
            subprocess.run(["umount", folder], check=True)

    def wrong_on_disk(self, scenario, folder):
        """Whether a file that has its final name is not whole: neither the old nor the new one."""
        reference = self.reference(scenario)
        for path in folder.rglob("*"):
            name = str(path.relative_to(folder))
            if not path.is_file() or "~" in name or path.suffix == ".csv":
                continue
            try:
                found = content_of(path)
            except Exception as error:
                return f"{name} is not whole: {error!r}"
            if scenario in REPLACED and name.startswith("out."):
                known = (reference["before"].get(name), reference["content"][name])
                if found not in known:
                    return f"{name} is neither the old nor the new one"
        return None

    def wrong_at_the_end(self, scenario, folder):
        """How the files differ from those of a run without a kill."""
        reference = self.reference(scenario)
        found = content(folder)
        # Keras's own, without files: see docs/reliability.md. The commands have even these removed.
        is_keras_s = scenario not in COMMANDS
        left = [
            each.name
            for each in self.temporary.iterdir()
            if not (is_keras_s and each.name.startswith("tmp") and is_without_files(each))
        ]
        shutil.rmtree(self.temporary)
        self.temporary.mkdir()
        if found.keys() != reference["content"].keys() or left:
            return f"other files: {sorted(found.keys() ^ reference['content'].keys())}, {left}"
        other = [name for name in found if found[name] != reference["content"][name]]
        return f"other content: {other}" if other else None


def is_without_files(folder):
    """Whether there are at most folders in a folder."""
    return not any(each.is_file() for each in folder.rglob("*"))


@contextlib.contextmanager
def killer():
    """A `Killer` in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        found = Killer(folder)
        try:
            yield found
        finally:
            found.close()


def mount(*arguments):
    """Mounts a file system in memory."""
    subprocess.run(["mount", "-t", "tmpfs", *arguments[:-1], "none", arguments[-1]], check=True)


def survey_full_disks(disks, names):
    """Fills the disk many times and prints a row for each scenario."""
    print("| run | disks | full | then as without |\n|---|---|---|---|", flush=True)
    failures = 0
    with killer() as found:
        for name in names:
            found.reference(name)
            page = 4096
            begins = 1 + sum(
                -(-each.stat().st_size // page) + 1 for each in found.begin(name).rglob("*")
            )
            wrong = [
                found.fill(name, page * (begins + 1 + index * SPAN // disks))
                for index in range(disks)
            ]
            bad = [each for each in wrong if each]
            failures += len(bad)
            print(f"| {name} | {disks} | {found.filled} | {disks - len(bad)} |", flush=True)
            found.filled = 0
            for each in bad:
                print(each, file=sys.stderr)
    return failures


def survey(kills, times, names, seed=0):
    """Kills many times and prints a row for each scenario."""
    print("| run | calls | killed at a call | as without | killed at a time | as without | s |")
    print("|---|---|---|---|---|---|---|", flush=True)
    failures = 0
    with killer() as found:
        for name in names:
            start = time.perf_counter()
            reference, draw = found.reference(name), random.Random(f"{seed} {name}")
            points = [index % reference["points"] for index in range(kills)]
            if reference["points"] > kills:
                points = sorted(draw.sample(range(reference["points"]), kills))
            wrong = collections.Counter()
            for number, point in enumerate(points):
                wrong[found.kill(name, kill_at=point, seed=number)] += 1
            found.killed = 0
            for _ in range(times):
                after = draw.random() * reference["seconds"]
                wrong_time = found.kill(name, kill_after=after, cuts_power=False)
                wrong[wrong_time and f"(at a time) {wrong_time}"] += 1
            bad = {each: count for each, count in wrong.items() if each}
            at_time = sum(count for each, count in bad.items() if each.startswith("(at a time)"))
            at_point = sum(bad.values()) - at_time
            failures += sum(bad.values())
            seconds = time.perf_counter() - start
            row = [name, reference["points"], kills, kills - at_point]
            row += [found.killed, found.killed - at_time, f"{seconds:.0f}"]
            print("|", " | ".join(map(str, row)), "|", flush=True)
            for each, count in bad.items():
                print(f"{count} times: {each}", file=sys.stderr)
    return failures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--times", type=int, help="at random times; as many as at calls")
    parser.add_argument("--full-disks", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("scenarios", nargs="*", default=list(SCENARIOS))
    asked = parser.parse_args()
    chosen = asked.scenarios or list(SCENARIOS)
    if asked.full_disks:
        sys.exit(bool(survey_full_disks(asked.full_disks, chosen)))
    times = asked.kills if asked.times is None else asked.times
    sys.exit(bool(survey(asked.kills, times, chosen, asked.seed)))
