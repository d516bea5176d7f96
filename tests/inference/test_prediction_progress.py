from mmcell.inference.progress import progress_bars


def test_a_bar_shows_the_numbers_the_remaining_time_and_the_cells(capsys):
    with progress_bars() as add_bar:
        add_bar('images')(1, 4, 120)
        add_bar('a.tif, tiles')(7, 9, 1234)
    output = capsys.readouterr().err
    assert 'images' in output and '1/4' in output and 'a.tif, tiles' in output and '7/9' in output
    assert output.count('left') == 2 and '120 cells' in output and '1,234 cells' in output


def test_bars_can_be_hidden(capsys):
    with progress_bars(is_hidden=True) as add_bar:
        add_bar('images')(1, 4, 0)
    assert capsys.readouterr() == ('', '')
