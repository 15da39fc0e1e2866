# %% [markdown]
# # One inversion, in pieces
#
# A head is simulated, so that the truth is known; its field is inverted by three methods, scored
# and drawn. Editors and Jupyter (through jupytext) show this script as a notebook; `python
# examples/one_inversion.py` writes `one-inversion.png`.

# %% A head of 3 mm, and the field that its susceptibility makes, with noise
import matplotlib

matplotlib.use('agg')
import matplotlib.pyplot as plt
import numpy as np

from qsmprep.qsm import invert, nrmse, simulate_local_field, xsim

scan = simulate_local_field(voxel_size=(3, 3, 3), shape=(56, 68, 56), snr=100, seed=1)
print(f'field: {1000 * scan.measured_ppm[scan.mask].std():.1f} ppb (SD)')

# %% Three inversions; none of them has been given a parameter
maps = {'truth': scan.chi}
for method in ('tkd', 'wiener', 'tv'):
    inversion = invert(scan.measured_ppm, scan.mask, scan.grid, method, noise_ppm=scan.noise_ppm)
    maps[method] = inversion.chi_ppm
    print(
        f'{method:7} NRMSE {nrmse(maps[method], scan.chi, scan.mask):5.1f} %'
        f'   XSIM {xsim(maps[method], scan.chi, scan.mask):.3f}'
    )

# %% A picture: susceptibility is known up to a constant, so each map is centred on its mean
figure, axes = plt.subplots(1, len(maps), figsize=(10, 3.3), layout='constrained')
for axis, (name, chi) in zip(axes, maps.items(), strict=True):
    centred = np.where(scan.mask, chi - chi[scan.mask].mean(), 0)
    axis.imshow(centred[:, :, 27].T, 'gray', vmin=-0.1, vmax=0.1, origin='lower')
    axis.set_title(name)
    axis.axis('off')
figure.suptitle('Susceptibility, \u00b10.1 ppm')
figure.savefig('one-inversion.png', dpi=100)
