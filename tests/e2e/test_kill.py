"""Commands that change the store, killed at random points: see kill_campaign.py. KILL_RUNS is the number of kills."""

import os
import shutil
import tempfile
import unittest

import kill_campaign

RUNS = int(os.environ.get("KILL_RUNS", "60"))


class Kill(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="pantry-kill-")
        self.addCleanup(shutil.rmtree, self.folder)
        interposer = kill_campaign.compile_interposer(self.folder)
        if not interposer:
            self.skipTest("needs Linux and a C compiler")
        self.campaign = kill_campaign.Campaign(self.folder, interposer)
        self.addCleanup(self.campaign.close)

    def test_nothing_is_lost(self):
        killed = self.campaign.all(RUNS)
        self.assertGreater(killed, RUNS * 0.9)  # a pull may need fewer writes than the one that was counted

    def test_the_campaign_sees_what_is_wrong(self):
        """Each of its comparisons fails where it should."""
        kinds, after = self.campaign.measure(["cp", "old", "new"])
        self.assertGreater(kinds["RENAME"], 0)
        never = {"KILL_AT": "RENAME:999", "KILL_HOW": "before"}
        self.assertFalse(self.campaign.kill(["cp", "old", "new"], never, after))
        with self.assertRaisesRegex(kill_campaign.Failed, "left:"):
            self.campaign.kill(["cp", "old", "new"], never, {})
        blob = next(path for path in after if "/sha256-" in path and after[path] > 10000)
        os.truncate(os.path.join(self.campaign.start, blob), 10)
        with self.assertRaisesRegex(kill_campaign.Failed, "doctor"):
            self.campaign.kill(["cp", "old", "new"], never, after)
