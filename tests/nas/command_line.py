"""The command line, as tests call it."""

from nas.cli import main


def call(capsys, *arguments):
    """The exit code, and what was printed as output and as errors."""
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err
