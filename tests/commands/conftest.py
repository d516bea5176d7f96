"""What the tests of tools/predict.py share."""

import sys

import predict
import pytest
from support.bright_detector import save_checkpoint


@pytest.fixture
def checkpoint(tmp_path):
    return save_checkpoint(tmp_path / 'toy.pth')


@pytest.fixture
def command(checkpoint, tmp_path, monkeypatch, capsys):
    """Calls the command with images and options; returns its exit status and what it printed."""
    def call(*arguments):
        monkeypatch.setattr(sys, 'argv', ['predict.py', str(checkpoint), *map(str, arguments), '--device', 'cpu',
                                          '--out', str(tmp_path / 'out')])
        try:
            status = predict.main()
        except SystemExit as end:
            status = end.code
        return status, capsys.readouterr()
    return call
