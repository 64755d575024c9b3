"""The campaigns, at a count of seconds; the full ones are commands: see each file."""

from tests.campaigns import damage, kills


def test_damage(capsys):
    """Some of each kind of damage: what is restored is what was saved, or a line says what is wrong."""
    assert damage.main(['--count', '8', '--seed', '3']) == 0, capsys.readouterr().out


def test_kills_of_training(capsys):
    """A tiny training that was killed at a random moment ends with an undisturbed one's bits, rows and files."""
    assert kills.main(['--count', '0', '--training', '1', '--seed', '1']) == 0, capsys.readouterr().out
