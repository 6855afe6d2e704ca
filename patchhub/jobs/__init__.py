"""Many pieces of work, each done once: content-addressed, resumable, here or elsewhere."""

from patchhub.jobs.inline import Inline
from patchhub.jobs.job import Job, Work
from patchhub.jobs.pool import Processes
from patchhub.jobs.run import run_jobs
from patchhub.jobs.store import JobStore

__all__ = ["Inline", "Job", "JobStore", "Processes", "Work", "run_jobs"]
