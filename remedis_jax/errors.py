"""The two ways in which a command ends early: the user's input is wrong, or the run failed.

Both carry one sentence for what is wrong and one for what to do about it; the command line prints
exactly that and no stack trace. Anything else that is raised is a defect of this project and keeps
its trace.
"""


class RemedisError(Exception):
    """One line that names the problem, one that names the remedy, and an exit code.

    Args:
        problem: What is wrong, naming the file, row, column or key.
        remedy: What the user can do about it.
    """

    exit_code = 1

    def __init__(self, problem: str, remedy: str = ""):
        self.problem = problem.strip()
        self.remedy = remedy.strip()
        super().__init__(" ".join(part for part in (self.problem, self.remedy) if part))


class UserError(RemedisError):
    """The input is wrong: a file, a column, a label, a config key (exit code 2)."""

    exit_code = 2


class RunFailed(RemedisError):
    """The input was right and the run did not end well: divergence, full disk (exit code 1)."""

    exit_code = 1
