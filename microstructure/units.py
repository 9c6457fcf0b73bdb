"""Units at the rim: multiply a number by its unit on the way in, divide on the way out. Everything inside is SI."""

um = 1e-6  # m
mm = 1e-3  # m
cm = 1e-2  # m
mg = 1e-6  # kg
gram = 1e-3  # kg
minute = 60.0  # s
hour = 3600.0  # s
mAh = 3.6  # C
Ah = 3600.0  # C
Wh = 3600.0  # J
N_mm = 1e3  # N/m, line load
m_min = 1 / minute  # m/s
MPa = 1e6  # Pa
GPa = 1e9  # Pa
mg_cm2 = mg / cm**2  # kg/m2
mAh_cm2 = mAh / cm**2  # C/m2
g_m2_s = gram  # kg/m2/s
litre = 1e-3  # m3
ZERO_CELSIUS = 273.15  # K

faraday = 96485.33212  # C/mol, CODATA 2018 (exact product of e and N_A), doi 10.1103/RevModPhys.93.025010
gas_constant = 8.31446261815324  # J/mol/K, CODATA 2018 (exact), doi 10.1103/RevModPhys.93.025010
boltzmann = 1.380649e-23  # J/K, CODATA 2018 (exact), doi 10.1103/RevModPhys.93.025010
