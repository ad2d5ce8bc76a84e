# Copyright (c) 2026 The portshift.agents authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's time: the clock on its wall, which can be set, and the time since its boot, which can't.

A model that is by itself sleeps by moving its own time on, so that a test need not wait; what is due meanwhile happens in its
order.  One that real processes talk to (`real`) sleeps as long as it says.
"""

import heapq
import itertools
import threading
import time


class Cancelled(Exception):
    """The process that slept was ended."""


class Timer:
    def __init__(self, due, call):
        self.due, self.call, self.is_on = due, call, True

    def cancel(self):
        self.is_on = False


class Clock:
    def __init__(self, real=False, up=86400.0, utc_offset=0):
        self.real, self.utc_offset = real, utc_offset
        self.lock = threading.RLock()
        self._began, self._epoch, self._skipped = time.monotonic(), time.time(), 0.0
        self._booted = -up
        self._timers, self._numbers = [], itertools.count()

    def steady(self):
        """Seconds that nothing sets, and that go on through a boot."""
        return time.monotonic() - self._began + self._skipped

    def now(self):
        """Seconds since the epoch, as the clock on the wall has them."""
        return self._epoch + self.steady()

    def uptime(self):
        return self.steady() - self._booted

    def set_by(self, seconds):
        """The clock on the wall is set."""
        self._epoch += seconds

    def boot(self):
        self._booted = self.steady()

    def local(self):
        """-> as time.gmtime(), in local time"""
        return time.gmtime(self.now() + self.utc_offset)

    # -- what is to come
    def after(self, seconds, call):
        timer = Timer(self.steady() + max(0.0, seconds), call)
        with self.lock:
            heapq.heappush(self._timers, (timer.due, next(self._numbers), timer))
        return timer

    def _next(self, until):
        """-> the first timer that is due by then, taken out of the list"""
        with self.lock:
            while self._timers and self._timers[0][0] <= until:
                timer = heapq.heappop(self._timers)[2]
                if timer.is_on:
                    return timer
        return None

    def catch_up(self):
        """Does what was due by now."""
        timer = self._next(self.steady())
        while timer:
            timer.call()
            timer = self._next(self.steady())

    def skip(self, seconds):
        """That much time passes at once, with all that happens in it."""
        end = self.steady() + seconds
        timer = self._next(end)
        while timer:
            with self.lock:
                self._skipped += max(0.0, timer.due - self.steady())
            timer.call()
            timer = self._next(end)
        with self.lock:
            self._skipped += max(0.0, end - self.steady())

    def sleep(self, seconds, cancelled=None):
        if not self.real:
            self._check(cancelled)
            self.skip(seconds)
            self._check(cancelled)
            return
        end = self.steady() + seconds
        while True:
            self._check(cancelled)
            self.catch_up()
            left = end - self.steady()
            if left <= 0:
                return
            time.sleep(min(left, 0.02))

    @staticmethod
    def _check(cancelled):
        if cancelled is not None and cancelled.is_set():
            raise Cancelled
